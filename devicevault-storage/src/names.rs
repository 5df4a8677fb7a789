//! Device names, sites and artefact names as components of a path.
