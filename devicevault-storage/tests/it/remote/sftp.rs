//! Against OpenSSH's server.

use super::folder::against;
use super::sshd::Sshd;

against!(
    folder: Sshd::start(),
    #[ignore = "needs sshd and ssh-keygen"]
    the_suite_of_object_store_passes,
    files_and_folders_are_for_the_owner_alone,
    a_folder_belongs_to_one_destination,
    what_goes_away_is_not_taken_for_deleted,
    planted_links_are_refused_and_nothing_outside_is_touched,
    what_is_the_stores_own_is_out_of_reach,
    foreign_things_are_not_listed_and_do_not_block,
    one_of_many_creates,
    one_folder_is_made_by_many,
    folders_that_empty_meanwhile_are_made_again,
    ranges_of_a_large_object,
    an_upload_that_is_aborted_or_fails_leaves_nothing,
    old_leavings_are_swept,
);

mod backups {
    use super::super::folder::against;
    use super::super::sshd::Sshd;

    against!(
        plain: Sshd::start(),
        #[ignore = "needs sshd and ssh-keygen"]
        the_suite_passes_in_the_clear,
        the_suite_passes_sealed,
        a_body_that_fails_leaves_nothing_however_far_it_came,
        writers_of_the_same_entries_meet,
        the_connection_test_passes,
    );
}

mod large {
    use super::super::folder::against;
    use super::super::sshd::Sshd;

    against!(
        measure: Sshd::start(),
        #[ignore = "needs sshd and ssh-keygen"]
        a_large_body_goes_there_and_back,
    );
}

/// A server that flushes nothing, links nothing and replaces nothing, as those of appliances.
mod a_server_that_offers_little {
    use devicevault_core::StorageBackend as _;

    use super::super::folder::against;
    use super::super::plain;
    use super::super::sshd::Sshd;
    use crate::plain::ZSTD;

    fn plain_server() -> Sshd {
        Sshd::with_subsystem("internal-sftp -P fsync,hardlink")
    }

    against!(
        folder: plain_server(),
        #[ignore = "needs sshd and ssh-keygen"]
        the_suite_of_object_store_passes,
        one_of_many_creates,
        one_folder_is_made_by_many,
        folders_that_empty_meanwhile_are_made_again,
        planted_links_are_refused_and_nothing_outside_is_touched,
        old_leavings_are_swept,
    );

    mod backups {
        use super::super::super::folder::against;
        use super::plain_server;

        against!(
            plain: plain_server(),
            #[ignore = "needs sshd and ssh-keygen"]
            the_suite_passes_sealed,
            writers_of_the_same_entries_meet,
            the_connection_test_passes,
        );
    }

    #[tokio::test]
    #[ignore = "needs sshd and ssh-keygen"]
    async fn says_what_that_means() {
        let (peer, folder) = (plain_server(), tempfile::tempdir().unwrap());
        let backend = plain::backend(&peer, folder.path(), ZSTD).await;
        assert!(!backend.capability().durable && !backend.capability().put_if_absent);
        let health = backend.check().await.unwrap();
        assert!(plain::detail(&health, "durability").contains("power cut"), "{health:?}");
        assert!(plain::detail(&health, "two writers").contains("hard links"), "{health:?}");
        let full = plain::backend(&Sshd::start(), folder.path(), ZSTD).await;
        assert!(full.capability().durable && full.capability().put_if_absent);
        eprintln!("2 servers, one of which flushes and links nothing: told apart");
    }
}

/// A server that flushes files, and opens no folders for that.
mod a_server_that_flushes_no_folders {
    use devicevault_core::StorageBackend as _;

    use super::super::asyncssh::Asyncssh;
    use super::super::folder::against;
    use super::super::plain;
    use crate::plain::ZSTD;

    mod backups {
        use super::super::super::folder::against;
        use super::Asyncssh;

        against!(
            plain: Asyncssh::start(),
            #[ignore = "needs python3 with asyncssh"]
            writers_of_the_same_entries_meet,
            the_connection_test_passes,
        );
    }

    against!(
        folder: Asyncssh::start(),
        #[ignore = "needs python3 with asyncssh"]
        one_of_many_creates,
        one_folder_is_made_by_many,
        old_leavings_are_swept,
    );

    mod without_links {
        use super::super::super::folder::against;
        use super::Asyncssh;

        against!(
            folder: Asyncssh::without_links(),
            #[ignore = "needs python3 with asyncssh"]
            the_suite_of_object_store_passes,
            one_of_many_creates,
            one_folder_is_made_by_many,
        );
        against!(
            plain: Asyncssh::without_links(),
            #[ignore = "needs python3 with asyncssh"]
            the_connection_test_passes,
        );
    }

    #[tokio::test]
    #[ignore = "needs python3 with asyncssh"]
    async fn says_what_that_means() {
        let (peer, folder) = (Asyncssh::start(), tempfile::tempdir().unwrap());
        let backend = plain::backend(&peer, &folder.path().join("not/there/yet"), ZSTD).await;
        assert!(!backend.capability().durable);
        let health = backend.check().await.unwrap();
        assert!(plain::detail(&health, "durability").contains("files and not folders"), "{health:?}");
    }
}
