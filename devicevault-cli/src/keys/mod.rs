//! Keys as people handle them: where they come from, how new ones are named, the recovery kit.

pub(crate) mod elsewhere;
pub(crate) mod gone;
pub(crate) mod kit;
pub(crate) mod laid;
pub(crate) mod lock;
pub(crate) mod mended;
pub(crate) mod new;
pub(crate) mod noted;
pub(crate) mod places;
pub(crate) mod sources;
pub(crate) mod spent;
