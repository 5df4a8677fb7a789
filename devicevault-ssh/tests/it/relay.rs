//! The testkit's relay before a server.

use std::time::Duration;

use devicevault_ssh::Endpoint;
use devicevault_testkit::relay::Relay;
pub(crate) use devicevault_testkit::relay::Trouble;

/// Relays to a server, each way this much later, with this trouble in what the server sends: as long as the test's process
/// lives.
pub(crate) async fn relay(to: Endpoint, delay: Duration, trouble: Trouble) -> Endpoint {
    let server = tokio::net::lookup_host((to.host.as_str(), to.port)).await.unwrap().next().unwrap();
    let relay = Relay::to(server).with_delay(delay).with_from_server(trouble).start().await.unwrap();
    Endpoint::new("127.0.0.1", Box::leak(Box::new(relay)).addr().port())
}
