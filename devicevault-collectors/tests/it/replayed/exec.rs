//! Devices that answer without a terminal.

use super::*;

async fn by_exec(status: Option<u32>, check: bool) -> (Result<()>, RecordingSink) {
    answered(&format!("check_status = {check}"), "a\nb\n", status, None).await
}

/// A platform that is asked without a terminal.
async fn answered(rule: &str, answer: &str, status: Option<u32>, version: Option<&str>) -> (Result<()>, RecordingSink) {
    let folder = tempfile::tempdir().unwrap();
    let platform = format!(
        "name = 'acme'\ntitle = 'Acme'\nchannel = 'exec'\n[exec]\n{rule}\n\
         [[artefacts]]\nname = 'config'\ncommands = ['show config']\n\
         [detect]\ncommands = ['show model', 'show version']\n"
    );
    std::fs::write(folder.path().join("acme.toml"), platform).unwrap();
    let platforms = PlatformSet::built_in().with_folder(folder.path()).unwrap();
    let mut device = with_config(vec![text(answer)]).exec_status(status);
    if let Some(version) = version {
        device = device.answer("show version", vec![text(version)]);
    }
    let dialer = ReplayDialer::new(device);
    let collector = CliCollector::new(Arc::new(platforms), Arc::new(dialer));
    let target = Target::new(Device::new("d1", "d1", "192.0.2.1", "acme"), Login::default());
    let mut sink = RecordingSink::new();
    let done = collector.collect(&target, &mut sink).await;
    (done, sink)
}

#[tokio::test(start_paused = true)]
async fn a_command_that_ended_without_a_word_or_with_a_bad_one_is_no_success() {
    for check in [false, true] {
        let (done, sink) = by_exec(Some(0), check).await;
        done.unwrap();
        assert_eq!((content(&sink, "config").as_str(), suspects(&sink)), ("a\r\nb\r\n", 0));
    }
    for status in [None, Some(1), Some(255)] {
        let (done, sink) = by_exec(status, false).await;
        done.unwrap();
        assert_eq!((content(&sink, "config").as_str(), suspects(&sink)), ("a\r\nb\r\n", 1), "{status:?}");
        // Of a platform that always says how a command ended, it is a failure.
        let (_, sink) = by_exec(status, true).await;
        assert!(sink.content("config").is_none(), "{status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_terminal_that_ends_amid_a_line_was_cut_off() {
    for (rule, answer, version, doubts) in [
        ("whole_lines = true", "a\nb\n", None, 0),
        ("whole_lines = true", "a\nb", None, 1),
        ("whole_lines = true", "a\nb\n ", None, 1),
        ("whole_lines = true", "a\nb", Some("v1\n"), 1),
        ("whole_lines = true", "a\nb", Some(""), 1),
        // The device ends no answer so.
        ("whole_lines = true", "a\nb", Some("v1\nx"), 0),
        ("whole_lines = false", "a\nb", None, 0),
    ] {
        let (done, sink) = answered(rule, answer, Some(0), version).await;
        done.unwrap();
        assert_eq!(suspects(&sink), doubts, "{rule} {answer:?} {version:?}");
    }
}
