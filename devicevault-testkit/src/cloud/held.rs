//! What the server holds, and what it answers of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Bound;

use bytes::Bytes;
use devicevault_core::{Clock as _, Digest, SystemClock, Timestamp};

use super::wire::Answer;
use super::{Fault, Request, State};

/// What it holds.
#[derive(Debug, Default)]
pub struct Held {
    /// Objects by their keys.
    pub objects: BTreeMap<String, Bytes>,
    /// Parts, by their numbers, of uploads that are not complete.
    pub uploads: BTreeMap<String, BTreeMap<u32, Bytes>>,
    order: Vec<String>,
    count: u64,
}

fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", &Digest::of(bytes).to_string()[..32])
}

impl Held {
    fn put(&mut self, key: &str, bytes: Bytes) {
        self.objects.insert(key.to_owned(), bytes);
        self.order.push(key.to_owned());
    }

    pub(super) fn answer(&mut self, r: &Request, state: &State, fault: Option<Fault>, through: bool) -> Answer {
        self.count += 1;
        match r.verb() {
            "list" => self.list(r, state, fault),
            "list uploads" => self.list_uploads(r, state),
            "get" | "head" => self.get(r, state, fault),
            "put" => {
                let create = r.headers.contains_key("if-none-match")
                    || r.headers.get("x-goog-if-generation-match").is_some_and(|g| g == "0");
                if state.conditions && create && self.objects.contains_key(&r.key) {
                    if !through {
                        return Answer::error(412, "PreconditionFailed");
                    }
                    state.replaced.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                self.put(&r.key, r.body.clone());
                Answer::new(200).with("ETag", etag(&r.body)).with("x-goog-generation", self.count)
            }
            "begin" => {
                let id = format!("{}-{}", self.count, r.key);
                self.uploads.insert(id.clone(), BTreeMap::new());
                Answer::xml(format!(
                    "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                ))
            }
            "part" => match self.uploads.get_mut(&r.query["uploadId"]) {
                None => Answer::error(404, "NoSuchUpload"),
                Some(parts) => {
                    parts.insert(r.query["partNumber"].parse().unwrap(), r.body.clone());
                    Answer::new(200).with("ETag", etag(&r.body))
                }
            },
            "complete" => match self.uploads.remove(&r.query["uploadId"]) {
                None => Answer::error(404, "NoSuchUpload"),
                Some(parts) => {
                    let sizes: BTreeSet<_> = parts.values().rev().skip(1).map(Bytes::len).collect();
                    if sizes.len() > 1 || sizes.first().is_some_and(|size| *size < 5 << 20) {
                        return Answer::error(400, "EntityTooSmall");
                    }
                    let bytes = Bytes::from(parts.into_values().flatten().collect::<Vec<u8>>());
                    let etag = etag(&bytes);
                    self.put(&r.key, bytes);
                    Answer::xml(format!(
                        "<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>"
                    ))
                }
            },
            "abort" => {
                self.uploads.remove(&r.query["uploadId"]);
                Answer::new(204)
            }
            "delete" => match self.objects.remove(&r.key) {
                Some(_) => Answer::new(204),
                None => Answer::error(404, "NoSuchKey"),
            },
            "bulk delete" => {
                let text = String::from_utf8_lossy(&r.body).into_owned();
                let keys = text.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
                let mut out = String::from("<DeleteResult>");
                for (key, _) in keys {
                    let plain = key.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
                    self.objects.remove(&plain.replace("&apos;", "'").replace("&amp;", "&"));
                    write!(out, "<Deleted><Key>{key}</Key></Deleted>").unwrap();
                }
                Answer::xml(out + "</DeleteResult>")
            }
            _ => Answer::error(501, "NotImplemented"),
        }
    }

    fn get(&self, r: &Request, state: &State, fault: Option<Fault>) -> Answer {
        let Some(bytes) = self.objects.get(&r.key) else { return Answer::error(404, "NoSuchKey") };
        let etag = if fault == Some(Fault::WrongEtag) { "\"other\"".to_owned() } else { etag(bytes) };
        let modified = now(state).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let range = r.headers.get("range").and_then(|range| {
            let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
            let start: usize = start.parse().ok()?;
            Some((start, end.parse().map_or(bytes.len(), |end: usize| (end + 1).min(bytes.len()))))
        });
        let answer = match range {
            Some((start, end)) if start < end => {
                let told = format!("bytes {start}-{}/{}", end - 1, bytes.len());
                let answer = Answer { body: bytes.slice(start..end), ..Answer::new(206) };
                answer.with("Content-Range", told)
            }
            Some(_) => return Answer::error(416, "InvalidRange"),
            None => Answer { body: bytes.clone(), ..Answer::new(200) },
        };
        answer.with("ETag", etag).with("Last-Modified", modified).with("x-goog-generation", 1)
    }

    /// One a page. The name of an upload holds the key of its object.
    fn list_uploads(&self, r: &Request, state: &State) -> Answer {
        let after = r.query.get("upload-id-marker").map_or("", String::as_str);
        let key = |id: &str| id.split_once('-').map_or(String::new(), |(_, key)| key.to_owned());
        let mut found = self.uploads.keys().filter(|id| id.as_str() > after && key(id).starts_with(&r.query["prefix"]));
        let Some(id) = found.next() else { return Answer::xml("<ListMultipartUploadsResult/>".to_owned()) };
        let (key, id, at) = (escaped(&key(id)), escaped(id), now(state).strftime("%Y-%m-%dT%H:%M:%S.000Z"));
        Answer::xml(format!(
            "<ListMultipartUploadsResult><IsTruncated>{}</IsTruncated><NextKeyMarker>{key}</NextKeyMarker>\
             <NextUploadIdMarker>{id}</NextUploadIdMarker><Upload><Key>{key}</Key><UploadId>{id}</UploadId>\
             <Initiated>{at}</Initiated></Upload></ListMultipartUploadsResult>",
            found.next().is_some()
        ))
    }

    fn list(&self, r: &Request, state: &State, fault: Option<Fault>) -> Answer {
        let text = |name: &str| r.query.get(name).map_or("", String::as_str);
        let (prefix, after) = (text("prefix"), text("continuation-token").max(text("start-after")));
        let hidden = if fault == Some(Fault::Stale) { 4 } else { 0 };
        let hidden: BTreeSet<_> = self.order.iter().rev().take(hidden).collect();
        let modified = now(state).strftime("%Y-%m-%dT%H:%M:%S.000Z");
        let (mut contents, mut prefixes, mut told, mut next) = (String::new(), BTreeSet::new(), 0, None);
        let from = if after > prefix { Bound::Excluded(after) } else { Bound::Included(prefix) };
        for (key, bytes) in self.objects.range::<str, _>((from, Bound::Unbounded)) {
            let Some(rest) = key.strip_prefix(prefix) else { break };
            if hidden.contains(key) {
                continue;
            }
            // Pages are short, so that there are several.
            if told == 50 {
                next = Some(key.clone());
                break;
            }
            match rest.split_once('/') {
                Some((folder, _)) if text("delimiter") == "/" => drop(prefixes.insert(format!("{prefix}{folder}/"))),
                _ => {
                    let (key, size, etag) = (escaped(key), bytes.len(), etag(bytes));
                    write!(contents, "<Contents><Key>{key}</Key><Size>{size}</Size><LastModified>{modified}</LastModified><ETag>{etag}</ETag></Contents>").unwrap();
                    told += 1;
                }
            }
            next = None;
        }
        let mut out = format!("<ListBucketResult>{contents}");
        for prefix in prefixes {
            let prefix = escaped(&prefix);
            write!(out, "<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>").unwrap();
        }
        // The last key of this page begins the next one after it.
        write!(out, "<IsTruncated>{}</IsTruncated>", next.is_some()).unwrap();
        if let Some(next) = next.filter(|_| fault != Some(Fault::Cut)) {
            let before = self.objects.range(..next).next_back().map_or(String::new(), |(key, _)| key.clone());
            let before = escaped(&before);
            write!(out, "<NextContinuationToken>{before}</NextContinuationToken>").unwrap();
        }
        Answer::xml(out + "</ListBucketResult>")
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn now(state: &State) -> Timestamp {
    Timestamp::from_second(SystemClock.now().as_second() + state.ahead).unwrap()
}
