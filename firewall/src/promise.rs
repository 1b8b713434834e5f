//! The numbered promises. docs/network-contract.md states each at length; a test compares the two.

/// A promise about packets. Its number stands in the comment of every rule that keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Promise(pub u8);

impl Promise {
    /// Every promise that a rule keeps, with its title.
    pub const ALL: [(Promise, &'static str); 32] = [
        (Promise(1), "nothing is forwarded that no rule names"),
        (Promise(2), "a guest's source address lies on the guest's interface"),
        (Promise(3), "the uplink cannot send from a guest's address"),
        (Promise(4), "packets that belong to no connection are dropped"),
        (Promise(5), "guests do not reach guests through the gateway"),
        (Promise(6), "only admitted pairs of MAC and address are forwarded, whatever connection they claim"),
        (Promise(7), "from the uplink only replies reach guests"),
        (Promise(8), "an admitted guest's DNS goes to our resolver, whatever address it was sent to"),
        (Promise(9), "a stranger's DNS goes to the stranger port, which forwards nothing"),
        (Promise(10), "a stranger's plain HTTP goes to the portal"),
        (Promise(11), "a stranger's other traffic is refused at once"),
        (Promise(12), "DNS over TLS and DNS over QUIC are refused"),
        (Promise(13), "known resolvers' HTTPS is refused"),
        (Promise(14), "guests' IPv4 leaves under the uplink's address"),
        (Promise(15), "guests' IPv6 leaves as configured: routed, translated, or not at all"),
        (Promise(16), "TCP segments fit the path"),
        (Promise(17), "the ICMPv6 that IPv6 needs passes, and no other"),
        (Promise(18), "the ICMPv4 that IPv4 needs passes, and no other"),
        (Promise(19), "guests reach on the gateway only DHCP, DNS, the portal and ping"),
        (Promise(20), "neighbour discovery works, and no guest is believed to be a router"),
        (Promise(21), "the uplink reaches nothing on the gateway but replies, DHCP and neighbour discovery"),
        (Promise(22), "administration enters only where the configuration says"),
        (Promise(23), "only TCP, UDP and ICMP leave: no tunnel protocol"),
        (Promise(24), "without the working table no new connection is forwarded"),
        (Promise(31), "one device does not use up the connections of all"),
        (Promise(32), "a device with a limited rate gets no more than that, both families together"),
        (Promise(33), "a device that has used up its data is out"),
        (
            Promise(34),
            "strangers reach the garden's addresses on TCP ports 80 and 443, and nothing else of the internet",
        ),
        (Promise(35), "where VPN is closed, the ports of its protocols are refused"),
        (Promise(36), "where Tor is closed, its relays are refused"),
        (Promise(37), "where QUIC is closed, UDP port 443 is refused"),
        (Promise(38), "no guest passes for the gateway, and who tries is counted"),
    ];

    /// The promise a rule's comment names: `C07 …`.
    pub fn of_comment(comment: &str) -> Option<Self> {
        let number = comment.split_once(' ')?.0;
        Self::ALL.iter().map(|(promise, _)| *promise).find(|promise| promise.to_string() == number)
    }

    /// What is promised, in a few words.
    pub fn title(self) -> &'static str {
        Self::ALL.iter().find(|(promise, _)| *promise == self).map_or("unknown", |(_, title)| title)
    }
}

impl std::fmt::Display for Promise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "C{:02}", self.0)
    }
}
