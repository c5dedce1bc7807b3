//! `/sys/class/net`: what each network device is and whether it is up.

use super::{collector::Host, files::number, sink::Sink};
use crate::ingest::Family;
use std::io;

/// How a file holds its number.
#[derive(Clone, Copy)]
enum Form {
    Decimal,
    /// With `0x` in front.
    Hexadecimal,
    /// Megabits a second, shown as bytes a second.
    Megabits,
}

const FILES: [(&str, Form, Family<'_>); 16] = [
    (
        "addr_assign_type",
        Form::Decimal,
        Family::gauge("node_network_address_assign_type", "How the device got its address."),
    ),
    ("carrier", Form::Decimal, Family::gauge("node_network_carrier", "Whether the link is there.")),
    (
        "carrier_changes",
        Form::Decimal,
        Family::counter("node_network_carrier_changes_total", "Times the link came or went."),
    ),
    (
        "carrier_up_count",
        Form::Decimal,
        Family::counter("node_network_carrier_up_changes_total", "Times the link came."),
    ),
    (
        "carrier_down_count",
        Form::Decimal,
        Family::counter("node_network_carrier_down_changes_total", "Times the link went."),
    ),
    ("dev_id", Form::Hexadecimal, Family::gauge("node_network_device_id", "Number among devices of one address.")),
    ("dormant", Form::Decimal, Family::gauge("node_network_dormant", "Whether the device waits for an event.")),
    ("flags", Form::Hexadecimal, Family::gauge("node_network_flags", "The device's flags as a number.")),
    ("ifindex", Form::Decimal, Family::gauge("node_network_iface_id", "Number of the device.")),
    ("iflink", Form::Decimal, Family::gauge("node_network_iface_link", "Number of the device it is linked to.")),
    ("link_mode", Form::Decimal, Family::gauge("node_network_iface_link_mode", "Mode of the link.")),
    ("mtu", Form::Decimal, Family::gauge("node_network_mtu_bytes", "Largest packet, in bytes.")),
    ("name_assign_type", Form::Decimal, Family::gauge("node_network_name_assign_type", "How the device got its name.")),
    ("netdev_group", Form::Decimal, Family::gauge("node_network_net_dev_group", "Group of the device.")),
    (
        "speed",
        Form::Megabits,
        Family::gauge("node_network_speed_bytes", "Speed of the link in bytes a second; negative where unknown."),
    ),
    (
        "tx_queue_len",
        Form::Decimal,
        Family::gauge("node_network_transmit_queue_length", "Packets that the sending queue has room for."),
    ),
];

const PROTOCOL: Family<'_> = Family::gauge("node_network_protocol_type", "Protocol of the device as a number.");
const UP: Family<'_> = Family::gauge("node_network_up", "Whether the device is up.");
const INFO: Family<'_> = Family::gauge("node_network_info", "Address and state of a network device; always 1.");
/// Label and file, each the same.
const INFO_LABELS: [&str; 5] = ["address", "broadcast", "duplex", "ifalias", "operstate"];

/// Collects the properties of every network device. A device that is down refuses some of them: they are absent then.
pub(super) fn netclass(host: &mut Host, sink: &mut dyn Sink) -> io::Result<()> {
    for device in host.files.sys_names("class/net")? {
        let labels = [("device", device.as_str())];
        let mut value = |file: &str, form: Form| {
            let text = host.files.sys(&["class/net", &device, file], &mut host.inner).ok()?.trim();
            match form {
                Form::Decimal => number(text),
                Form::Hexadecimal => u64::from_str_radix(text.trim_start_matches("0x"), 16).ok().map(|n| n as f64),
                Form::Megabits => number(text).map(|megabits| megabits * 1e6 / 8.0),
            }
        };
        // What has no number is a file beside the devices, such as `bonding_masters`.
        let Some(protocol) = value("type", Form::Decimal) else { continue };
        sink.sample(&PROTOCOL, &labels, protocol);
        for (file, form, family) in &FILES {
            if let Some(value) = value(file, *form) {
                sink.sample(family, &labels, value);
            }
        }
        host.name.clear();
        let mut ends = [0; INFO_LABELS.len()];
        for (end, file) in ends.iter_mut().zip(INFO_LABELS) {
            let text = host.files.sys(&["class/net", &device, file], &mut host.inner).unwrap_or_default();
            host.name.push_str(text.trim());
            *end = host.name.len();
        }
        let mut info = [("device", device.as_str()); INFO_LABELS.len() + 1];
        let mut start = 0;
        for ((slot, label), end) in info[1..].iter_mut().zip(INFO_LABELS).zip(ends) {
            *slot = (label, &host.name[start..end]);
            start = end;
        }
        let up = info[INFO_LABELS.len()].1 == "up";
        sink.sample(&UP, &labels, f64::from(u8::from(up)));
        sink.sample(&INFO, &info, 1.0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::{collector::fixture, sink::Lines};

    #[test]
    fn properties_that_are_there_are_shown_and_others_are_absent() {
        let file = |name: &str, text: &str| (format!("sys/class/net/eth0/{name}"), text.to_owned());
        let files = [
            file("type", "1\n"),
            file("flags", "0x1003\n"),
            file("speed", "1000\n"),
            file("mtu", "1500\n"),
            file("operstate", "up\n"),
            file("address", "02:fc:00:00:00:01\n"),
            file("duplex", "full\n"),
            ("sys/class/net/bonding_masters".to_owned(), "bond0\n".to_owned()),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let (_directory, mut host) = fixture(&files);
        let mut lines = Lines::default();
        netclass(&mut host, &mut lines).unwrap();
        lines.has(&[
            "node_network_protocol_type{device=\"eth0\"} 1",
            "node_network_flags{device=\"eth0\"} 4099",
            "node_network_speed_bytes{device=\"eth0\"} 125000000",
            "node_network_mtu_bytes{device=\"eth0\"} 1500",
            "node_network_up{device=\"eth0\"} 1",
            "node_network_info{address=\"02:fc:00:00:00:01\",device=\"eth0\",duplex=\"full\",operstate=\"up\"} 1",
        ]);
        assert_eq!(lines.0.len(), 6);
    }
}
