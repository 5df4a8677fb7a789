//! Against vsftpd, in clear text and over TLS.

use devicevault_storage::ftp::FtpSecurity;

use super::vsftpd::Vsftpd;

fn clear() -> Vsftpd {
    Vsftpd::start(FtpSecurity::ClearText, "")
}

fn explicit() -> Vsftpd {
    Vsftpd::start(FtpSecurity::Explicit, "")
}

fn implicit() -> Vsftpd {
    Vsftpd::start(FtpSecurity::Implicit, "")
}

mod in_clear_text {
    use super::super::folder::against;
    use super::clear;

    against!(
        folder: clear(),
        "needs vsftpd, openssl and root",
        the_suite_of_object_store_passes,
        files_and_folders_are_for_the_owner_alone,
        a_folder_belongs_to_one_destination,
        what_goes_away_is_not_taken_for_deleted,
        what_is_the_stores_own_is_out_of_reach,
        foreign_things_are_not_listed_and_do_not_block,
        one_of_many_creates,
        folders_that_empty_meanwhile_are_made_again,
        ranges_of_a_large_object,
        an_upload_that_is_aborted_or_fails_leaves_nothing,
        old_leavings_are_swept,
    );
    against!(
        plain: clear(),
        "needs vsftpd, openssl and root",
        the_suite_passes_in_the_clear,
        a_body_that_fails_leaves_nothing_however_far_it_came,
        writers_of_the_same_entries_meet,
        the_connection_test_passes,
    );
}

mod over_tls {
    use super::super::folder::against;
    use super::explicit;

    against!(
        folder: explicit(),
        "needs vsftpd, openssl and root",
        the_suite_of_object_store_passes,
        files_and_folders_are_for_the_owner_alone,
        one_of_many_creates,
        ranges_of_a_large_object,
        an_upload_that_is_aborted_or_fails_leaves_nothing,
    );
    against!(
        plain: explicit(),
        "needs vsftpd, openssl and root",
        the_suite_passes_sealed,
        the_connection_test_passes,
    );
}

mod over_implicit_tls {
    use super::super::folder::against;
    use super::implicit;

    against!(
        folder: implicit(),
        "needs vsftpd, openssl and root",
        ranges_of_a_large_object,
        what_is_the_stores_own_is_out_of_reach,
    );
}
