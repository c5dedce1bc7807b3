//! `/proc/net/dev` and `/proc/net/softnet_stat`: traffic of each network device, and of each processor.

use super::{collector::Host, collector::malformed, files::number, sink::Sink};
use crate::ingest::Family;
use std::io;

/// The columns of `/proc/net/dev` in their order, receiving then sending.
const COLUMNS: [Family<'_>; 16] = [
    Family::counter("node_network_receive_bytes_total", "Bytes received."),
    Family::counter("node_network_receive_packets_total", "Packets received."),
    Family::counter("node_network_receive_errs_total", "Packets received with an error."),
    Family::counter("node_network_receive_drop_total", "Packets received and dropped."),
    Family::counter("node_network_receive_fifo_total", "Packets lost to a full buffer of the device."),
    Family::counter("node_network_receive_frame_total", "Packets received with a wrong frame."),
    Family::counter("node_network_receive_compressed_total", "Compressed packets received."),
    Family::counter("node_network_receive_multicast_total", "Multicast packets received."),
    Family::counter("node_network_transmit_bytes_total", "Bytes sent."),
    Family::counter("node_network_transmit_packets_total", "Packets sent."),
    Family::counter("node_network_transmit_errs_total", "Packets not sent for an error."),
    Family::counter("node_network_transmit_drop_total", "Packets dropped before they were sent."),
    Family::counter("node_network_transmit_fifo_total", "Packets lost to a full buffer of the device."),
    Family::counter("node_network_transmit_colls_total", "Collisions."),
    Family::counter("node_network_transmit_carrier_total", "Losses of the carrier while sending."),
    Family::counter("node_network_transmit_compressed_total", "Compressed packets sent."),
];

const NO_HANDLER: Family<'_> =
    Family::counter("node_network_receive_nohandler_total", "Packets received that no protocol wanted.");

/// Columns of `/proc/net/softnet_stat`, in hexadecimal, and their families.
const SOFTNET: [(usize, Family<'_>); 7] = [
    (0, Family::counter("node_softnet_processed_total", "Packets a processor took from the network devices.")),
    (1, Family::counter("node_softnet_dropped_total", "Packets dropped because a processor's queue was full.")),
    (2, Family::counter("node_softnet_times_squeezed_total", "Times a processor ran out of its share with work left.")),
    (8, Family::counter("node_softnet_cpu_collision_total", "Times a device's lock was taken while sending.")),
    (9, Family::counter("node_softnet_received_rps_total", "Times another processor asked to take packets.")),
    (10, Family::counter("node_softnet_flow_limit_count_total", "Packets dropped for the limit of a flow.")),
    (11, Family::gauge("node_softnet_backlog_len", "Packets in a processor's queue.")),
];
/// The column that says which processor the line is about, in kernels that have it.
const SOFTNET_CPU: usize = 12;

/// Collects the traffic of every network device.
pub(super) fn netdev(host: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    let text = host.files.proc(&["net", "dev"], &mut host.text)?;
    // Two lines of headings.
    for line in text.lines().skip(2) {
        // A name may have a colon in it; the columns have none.
        let (device, columns) = line.rsplit_once(':').ok_or_else(|| malformed("/proc/net/dev"))?;
        let labels = [("device", device.trim())];
        for (family, column) in COLUMNS.iter().zip(columns.split_ascii_whitespace()) {
            sink.sample(family, &labels, column.parse().map_err(|_| malformed("/proc/net/dev"))?);
        }
        let found = host.files.sys(&["class/net", labels[0].1, "statistics/rx_nohandler"], &mut host.inner);
        if let Some(value) = found.ok().and_then(number) {
            sink.sample(&NO_HANDLER, &labels, value);
        }
    }
    Ok(())
}

/// Collects what each processor did for the network.
pub(super) fn softnet(host: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    let text = host.files.proc(&["net", "softnet_stat"], &mut host.text)?;
    for (index, line) in text.lines().enumerate() {
        let mut columns = [None; SOFTNET_CPU + 1];
        for (column, text) in columns.iter_mut().zip(line.split_ascii_whitespace()) {
            *column = Some(u32::from_str_radix(text, 16).map_err(|_| malformed("/proc/net/softnet_stat"))?);
        }
        let cpu = columns[SOFTNET_CPU].map_or(index, |cpu| cpu as usize).to_string();
        for (column, family) in &SOFTNET {
            if let Some(value) = columns[*column] {
                sink.sample(family, &[("cpu", &cpu)], f64::from(value));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::{collector::fixture, sink::Lines};

    #[test]
    fn every_column_of_a_device_has_its_name() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes\n  eth0:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
            br0:7: 10 20 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
        let nohandler = ("sys/class/net/eth0/statistics/rx_nohandler", "17\n");
        let (_directory, mut host) = fixture(&[("proc/net/dev", text), nohandler]);
        let mut lines = Lines::default();
        netdev(&mut host, &mut lines).unwrap();
        lines.has(&[
            "node_network_receive_bytes_total{device=\"eth0\"} 1",
            "node_network_receive_multicast_total{device=\"eth0\"} 8",
            "node_network_transmit_bytes_total{device=\"eth0\"} 9",
            "node_network_transmit_compressed_total{device=\"eth0\"} 16",
            "node_network_receive_nohandler_total{device=\"eth0\"} 17",
            "node_network_receive_packets_total{device=\"br0:7\"} 20",
        ]);
        assert_eq!(lines.0.len(), 33);
    }

    #[test]
    fn softnet_names_processors_by_its_last_column_or_by_line() {
        let new = "0000b13e 00000001 00000002 0 0 0 0 0 00000003 00000004 00000005 00000006 00000004 0 0\n";
        let (_directory, mut host) = fixture(&[("proc/net/softnet_stat", new)]);
        let mut lines = Lines::default();
        softnet(&mut host, &mut lines).unwrap();
        lines.has(&[
            "node_softnet_processed_total{cpu=\"4\"} 45374",
            "node_softnet_times_squeezed_total{cpu=\"4\"} 2",
            "node_softnet_received_rps_total{cpu=\"4\"} 4",
            "node_softnet_backlog_len{cpu=\"4\"} 6",
        ]);
        let (_directory, mut host) = fixture(&[("proc/net/softnet_stat", "1 2 3 0 0 0 0 0 4\n5 6 7 0 0 0 0 0 8\n")]);
        let mut lines = Lines::default();
        softnet(&mut host, &mut lines).unwrap();
        lines.has(&["node_softnet_processed_total{cpu=\"1\"} 5"]);
        assert_eq!(lines.0.len(), 8);
    }
}
