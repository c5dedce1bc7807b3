//! Sockets and protocols: `/proc/net/netstat`, `snmp`, `snmp6`, `sockstat`, `udp`, `arp`, and connection tracking.

use super::{collector::Host, collector::malformed, files::number, sink::Sink};
use crate::ingest::Family;
use std::{collections::BTreeMap, io};

const ARP: Family<'_> = Family::gauge("node_arp_entries", "Entries of the ARP table.");
const CONNTRACK: Family<'_> = Family::gauge("node_nf_conntrack_entries", "Connections that are tracked.");
const CONNTRACK_LIMIT: Family<'_> =
    Family::gauge("node_nf_conntrack_entries_limit", "Connections that can be tracked at once.");
/// Columns of `/proc/net/stat/nf_conntrack` that are shown; summed over processors.
const CONNTRACK_STATS: [(&str, Family<'_>); 8] = [
    ("found", Family::gauge("node_nf_conntrack_stat_found", "Searches that found a connection.")),
    ("invalid", Family::gauge("node_nf_conntrack_stat_invalid", "Packets that could not be tracked.")),
    ("ignore", Family::gauge("node_nf_conntrack_stat_ignore", "Packets that belonged to a connection already.")),
    ("insert", Family::gauge("node_nf_conntrack_stat_insert", "Connections added.")),
    ("insert_failed", Family::gauge("node_nf_conntrack_stat_insert_failed", "Connections that could not be added.")),
    ("drop", Family::gauge("node_nf_conntrack_stat_drop", "Packets dropped because tracking failed.")),
    ("early_drop", Family::gauge("node_nf_conntrack_stat_early_drop", "Connections dropped to make room.")),
    ("search_restart", Family::gauge("node_nf_conntrack_stat_search_restart", "Searches begun again.")),
];
const UDP_QUEUES: Family<'_> = Family::gauge("node_udp_queues", "Bytes in the queues of UDP sockets.");

/// Collects the ARP table's size by device.
pub(super) fn arp(host: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    let text = host.files.proc(&["net", "arp"], &mut host.text)?;
    let mut devices: BTreeMap<&str, u32> = BTreeMap::new();
    for device in text.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().nth(5)) {
        *devices.entry(device).or_default() += 1;
    }
    for (device, entries) in devices {
        sink.sample(&ARP, &[("device", device)], f64::from(entries));
    }
    Ok(())
}

/// Collects connection tracking, where its module is loaded.
pub(super) fn conntrack(host: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    for (file, family) in [("nf_conntrack_count", CONNTRACK), ("nf_conntrack_max", CONNTRACK_LIMIT)] {
        let text = host.files.proc(&["sys/net/netfilter", file], &mut host.text)?;
        sink.sample(&family, &[], number(text).ok_or_else(|| malformed(file))?);
    }
    let text = host.files.proc(&["net", "stat/nf_conntrack"], &mut host.text)?;
    let mut lines = text.lines();
    let heading = lines.next().unwrap_or_default();
    for (column, family) in &CONNTRACK_STATS {
        let Some(position) = heading.split_ascii_whitespace().position(|name| name == *column) else { continue };
        let counts = lines.clone().filter_map(|line| line.split_ascii_whitespace().nth(position));
        let sum: u64 = counts.map(|count| u64::from_str_radix(count, 16).unwrap_or_default()).sum();
        sink.sample(family, &[], sum as f64);
    }
    Ok(())
}

/// Collects the counters of IP, ICMP, TCP and UDP that dashboards ask for.
pub(super) fn netstat(host: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    for file in ["netstat", "snmp"] {
        let text = host.files.proc(&["net", file], &mut host.text)?;
        // A line of names and a line of values, both beginning with the protocol.
        let mut lines = text.lines();
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let (Some((protocol, names)), Some((_, values))) = (names.split_once(':'), values.split_once(':')) else {
                return Err(malformed(file));
            };
            for (name, value) in names.split_ascii_whitespace().zip(values.split_ascii_whitespace()) {
                protocol_sample(&mut host.name, protocol, name, value, sink);
            }
        }
    }
    // Absent where IPv6 is off.
    let Ok(text) = host.files.proc(&["net", "snmp6"], &mut host.text) else { return Ok(()) };
    for line in text.lines() {
        let mut columns = line.split_ascii_whitespace();
        let (Some(key), Some(value)) = (columns.next(), columns.next()) else { continue };
        if let Some(six) = key.find('6') {
            let (protocol, name) = key.split_at(six + 1);
            protocol_sample(&mut host.name, protocol, name, value, sink);
        }
    }
    Ok(())
}

fn protocol_sample(buffer: &mut String, protocol: &str, name: &str, value: &str, sink: &mut dyn Sink) {
    let (true, Ok(value)) = (is_shown(protocol, name), value.parse()) else { return };
    buffer.clear();
    buffer.extend(["node_netstat_", protocol, "_", name]);
    sink.sample(&Family::unknown(buffer, "A counter of the network protocols in /proc/net."), &[], value);
}

/// The counters node_exporter shows unless told otherwise: of the hundreds there are, those that dashboards ask for.
fn is_shown(protocol: &str, name: &str) -> bool {
    if matches!(name, "InErrors" | "InErrs") {
        return true;
    }
    match protocol {
        "Ip" => name == "Forwarding",
        "Ip6" | "IpExt" => matches!(name, "InOctets" | "OutOctets"),
        "Icmp" | "Icmp6" => matches!(name, "InMsgs" | "OutMsgs"),
        "TcpExt" => {
            name.starts_with("Listen")
                || name.starts_with("Syncookies")
                || matches!(name, "TCPSynRetrans" | "TCPTimeouts" | "TCPOFOQueue" | "TCPRcvQDrop")
        }
        "Tcp" => matches!(
            name,
            "ActiveOpens" | "InSegs" | "OutSegs" | "OutRsts" | "PassiveOpens" | "RetransSegs" | "CurrEstab"
        ),
        "Udp" | "Udp6" => {
            matches!(name, "InDatagrams" | "OutDatagrams" | "NoPorts" | "RcvbufErrors" | "SndbufErrors")
        }
        _ => false,
    }
}

/// Collects how many sockets there are of each protocol.
pub(super) fn sockstat(host: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    let page_bytes = rustix::param::page_size() as f64;
    for file in ["sockstat", "sockstat6"] {
        let text = match host.files.proc(&["net", file], &mut host.text) {
            // Absent where IPv6 is off.
            Err(_) if file == "sockstat6" => break,
            text => text?,
        };
        for line in text.lines() {
            let Some((protocol, rest)) = line.split_once(':') else { return Err(malformed(file)) };
            let mut columns = rest.split_ascii_whitespace();
            while let (Some(key), Some(value)) = (columns.next(), columns.next()) {
                let value = number(value).ok_or_else(|| malformed(file))?;
                host.name.clear();
                host.name.extend(["node_sockstat_", protocol, "_", key]);
                sink.sample(&Family::gauge(&host.name, "Sockets of a protocol in a state."), &[], value);
                if key == "mem" {
                    host.name.push_str("_bytes");
                    let family = Family::gauge(&host.name, "Memory of a protocol's sockets, in bytes.");
                    sink.sample(&family, &[], value * page_bytes);
                }
            }
        }
    }
    Ok(())
}

/// Collects what waits in the queues of UDP sockets.
pub(super) fn udp_queues(host: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    let mut result = Err(io::Error::from(io::ErrorKind::NotFound));
    for (file, ip) in [("udp", "v4"), ("udp6", "v6")] {
        let text = match host.files.proc(&["net", file], &mut host.text) {
            Ok(text) => text,
            Err(error) if result.is_err() => {
                result = Err(error);
                continue;
            }
            Err(_) => continue,
        };
        let (mut sent, mut received) = (0, 0);
        for queues in text.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().nth(4)) {
            let (tx, rx) = queues.split_once(':').ok_or_else(|| malformed(file))?;
            let bytes = |text| u64::from_str_radix(text, 16).map_err(|_| malformed(file));
            sent += bytes(tx)?;
            received += bytes(rx)?;
        }
        sink.sample(&UDP_QUEUES, &[("ip", ip), ("queue", "tx")], sent as f64);
        sink.sample(&UDP_QUEUES, &[("ip", ip), ("queue", "rx")], received as f64);
        result = Ok(());
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::{collector::fixture, sink::Lines};

    #[test]
    fn arp_entries_are_counted_by_device() {
        let text = "IP address HW type Flags HW address Mask Device\n\
            192.0.2.1 0x1 0x2 02:fc:00:00:00:05 * eth0\n192.0.2.2 0x1 0x2 02:fc:00:00:00:06 * eth0\n10.0.0.1 0x1 0x2 0 * br0\n";
        let (_directory, mut host) = fixture(&[("proc/net/arp", text)]);
        let mut lines = Lines::default();
        arp(&mut host, &mut lines).unwrap();
        assert_eq!(lines.0, ["node_arp_entries{device=\"br0\"} 1", "node_arp_entries{device=\"eth0\"} 2"]);
    }

    #[test]
    fn connection_tracking_sums_processors_by_the_names_of_the_heading() {
        let (_directory, mut host) = fixture(&[
            ("proc/sys/net/netfilter/nf_conntrack_count", "5\n"),
            ("proc/sys/net/netfilter/nf_conntrack_max", "262144\n"),
            (
                "proc/net/stat/nf_conntrack",
                "entries  clashres found drop\n00000001 00000002 0000000a 1\n1 2 00000006 0\n",
            ),
        ]);
        let mut lines = Lines::default();
        conntrack(&mut host, &mut lines).unwrap();
        assert_eq!(
            lines.0,
            [
                "node_nf_conntrack_entries 5",
                "node_nf_conntrack_entries_limit 262144",
                "node_nf_conntrack_stat_found 16",
                "node_nf_conntrack_stat_drop 1",
            ]
        );
    }

    #[test]
    fn of_the_protocols_counters_the_known_few_are_shown() {
        let netstat_file = "TcpExt: SyncookiesSent ListenDrops PruneCalled TCPTimeouts\nTcpExt: 1 2 3 4\nIpExt: InOctets InNoRoutes\nIpExt: 5 6\n";
        let snmp = "Ip: Forwarding DefaultTTL\nIp: 2 64\nTcp: MaxConn CurrEstab InErrs\nTcp: -1 3 0\nUdpLite: InErrors NoPorts\nUdpLite: 9 1\n";
        let snmp6 = "Ip6InOctets                     7\nUdp6NoPorts 8\nIcmp6OutType143 3\nUdpLite6InErrors 1\n";
        let (_directory, mut host) =
            fixture(&[("proc/net/netstat", netstat_file), ("proc/net/snmp", snmp), ("proc/net/snmp6", snmp6)]);
        let mut lines = Lines::default();
        netstat(&mut host, &mut lines).unwrap();
        let names: Vec<&str> = lines.0.iter().map(|line| line.trim_start_matches("node_netstat_")).collect();
        assert_eq!(
            names,
            [
                "TcpExt_SyncookiesSent 1",
                "TcpExt_ListenDrops 2",
                "TcpExt_TCPTimeouts 4",
                "IpExt_InOctets 5",
                "Ip_Forwarding 2",
                "Tcp_CurrEstab 3",
                "Tcp_InErrs 0",
                "UdpLite_InErrors 9",
                "Ip6_InOctets 7",
                "Udp6_NoPorts 8",
                "UdpLite6_InErrors 1",
            ]
        );
    }

    #[test]
    fn memory_of_sockets_is_shown_in_pages_and_in_bytes() {
        let text = "sockets: used 25\nTCP: inuse 2 orphan 0 tw 1 alloc 2 mem 3\nRAW: inuse 0\n";
        let (_directory, mut host) = fixture(&[("proc/net/sockstat", text)]);
        let mut lines = Lines::default();
        sockstat(&mut host, &mut lines).unwrap();
        let bytes = format!("node_sockstat_TCP_mem_bytes {}", 3 * rustix::param::page_size());
        lines.has(&["node_sockstat_sockets_used 25", "node_sockstat_TCP_tw 1", "node_sockstat_TCP_mem 3", &bytes]);
        assert_eq!(lines.0.len(), 8);
    }

    #[test]
    fn queues_of_udp_sockets_are_added_up() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr\n\
            1: 00000000:0044 00000000:0000 07 00000010:00000A00 00:00000000\n 2: 0:0 0:0 07 00000001:00000001 00\n";
        let (_directory, mut host) = fixture(&[("proc/net/udp", text)]);
        let mut lines = Lines::default();
        udp_queues(&mut host, &mut lines).unwrap();
        assert_eq!(
            lines.0,
            ["node_udp_queues{ip=\"v4\",queue=\"tx\"} 17", "node_udp_queues{ip=\"v4\",queue=\"rx\"} 2561"]
        );
    }
}
