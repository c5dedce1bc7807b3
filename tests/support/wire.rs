//! Remote write 1.0 from the sender's side, written by hand so that the tests share no code with what they test.

use std::io::Write;

pub const WRITE_HEADERS: &[(&str, &str)] = &[
    ("Content-Type", "application/x-protobuf"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "0.1.0"),
    ("User-Agent", "observatory-tests"),
];

/// The value that says "this series ended here".
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// One series: its labels, `__name__` among them, and samples as (Unix milliseconds, value).
#[derive(Debug, Clone, Default)]
pub struct Series {
    pub labels: Vec<(String, String)>,
    pub samples: Vec<(i64, f64)>,
    pub exemplars: Vec<Exemplar>,
}

#[derive(Debug, Clone)]
pub struct Exemplar {
    pub labels: Vec<(String, String)>,
    pub value: f64,
    /// Unix milliseconds.
    pub timestamp: i64,
}

impl Series {
    pub fn new(name: &str, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Series {
        let mut all = vec![("__name__".to_owned(), name.to_owned())];
        all.extend(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        all.sort();
        Series { labels: all, samples: samples.to_vec(), exemplars: Vec::new() }
    }
}

/// A snappy-compressed `WriteRequest`.
pub fn write_request(series: &[Series]) -> Vec<u8> {
    snappy(&write_request_plain(series))
}

/// A `WriteRequest` before compression.
pub fn write_request_plain(series: &[Series]) -> Vec<u8> {
    let mut out = Vec::new();
    for one in series {
        let mut message = labels_fields(&one.labels);
        for (timestamp, value) in &one.samples {
            let mut sample = vec![1 << 3 | 1];
            sample.extend_from_slice(&value.to_bits().to_le_bytes());
            sample.push(2 << 3);
            varint(&mut sample, *timestamp as u64);
            bytes_field(&mut message, 2, &sample);
        }
        for Exemplar { labels, value, timestamp } in &one.exemplars {
            let mut exemplar = labels_fields(labels);
            exemplar.push(2 << 3 | 1);
            exemplar.extend_from_slice(&value.to_bits().to_le_bytes());
            exemplar.push(3 << 3);
            varint(&mut exemplar, *timestamp as u64);
            bytes_field(&mut message, 3, &exemplar);
        }
        bytes_field(&mut out, 1, &message);
    }
    out
}

/// Field 1 of a series, and of an exemplar.
fn labels_fields(labels: &[(String, String)]) -> Vec<u8> {
    let mut message = Vec::new();
    for (name, value) in labels {
        let mut label = Vec::new();
        bytes_field(&mut label, 1, name.as_bytes());
        bytes_field(&mut label, 2, value.as_bytes());
        bytes_field(&mut message, 1, &label);
    }
    message
}

/// The block format, without framing.
pub fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).expect("a test body fits snappy")
}

/// A snappy block that declares `declared` bytes and holds almost none.
pub fn snappy_lie(declared: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, declared);
    out.extend_from_slice(&[0x00, b'a']);
    out
}

/// A snappy block of `length` zeros: a literal and copies of it, 21 times smaller than what it means.
pub fn snappy_bomb(length: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, length);
    out.extend_from_slice(&[0x00, 0]);
    let mut rest = length - 1;
    while rest > 0 {
        let copy = rest.min(64);
        out.extend_from_slice(&[((copy - 1) << 2 | 2) as u8, 1, 0]);
        rest -= copy;
    }
    out
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("compress into memory");
    encoder.finish().expect("compress into memory")
}

/// `length` bytes of one line repeated, as gzip, about a thousandth of it.
pub fn gzip_bomb(line: &[u8], length: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let block = line.repeat(1 + (1 << 16) / line.len());
    let mut left = length;
    while left > 0 {
        let take = left.min(block.len());
        encoder.write_all(&block[..take]).expect("compress into memory");
        left -= take;
    }
    encoder.finish().expect("compress into memory")
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A series of one native histogram, to stand in a request beside others: `count` observations in each of two buckets.
pub fn histogram_series_plain(name: &str, timestamp: i64, count: u64) -> Vec<u8> {
    let double = |out: &mut Vec<u8>, field: u8, value: f64| {
        out.push(field << 3 | 1);
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    };
    let mut histogram = vec![1 << 3];
    varint(&mut histogram, 2 * count);
    double(&mut histogram, 3, 3.5 * count as f64);
    // sint32 3 is written as 6.
    histogram.extend([4 << 3, 6]);
    double(&mut histogram, 5, 1e-128);
    histogram.extend([6 << 3, 0]);
    bytes_field(&mut histogram, 11, &[1 << 3, 0, 2 << 3, 2]);
    let mut deltas = Vec::new();
    varint(&mut deltas, 2 * count);
    varint(&mut deltas, 0);
    bytes_field(&mut histogram, 12, &deltas);
    histogram.push(15 << 3);
    varint(&mut histogram, timestamp as u64);
    let mut series = label_plain("__name__", name);
    bytes_field(&mut series, 4, &histogram);
    let mut out = Vec::new();
    bytes_field(&mut out, 1, &series);
    out
}

/// A series of one sample with one exemplar, to stand in a request beside others.
pub fn exemplar_series_plain(name: &str, timestamp: i64, value: f64, trace: &str) -> Vec<u8> {
    let number = |out: &mut Vec<u8>, field: u8| {
        out.push(field << 3 | 1);
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    };
    let mut sample = Vec::new();
    number(&mut sample, 1);
    sample.push(2 << 3);
    varint(&mut sample, timestamp as u64);
    let mut exemplar = label_plain("trace_id", trace);
    number(&mut exemplar, 2);
    exemplar.push(3 << 3);
    varint(&mut exemplar, timestamp as u64);
    let mut series = label_plain("__name__", name);
    bytes_field(&mut series, 2, &sample);
    bytes_field(&mut series, 3, &exemplar);
    let mut out = Vec::new();
    bytes_field(&mut out, 1, &series);
    out
}

fn label_plain(name: &str, value: &str) -> Vec<u8> {
    let (mut label, mut out) = (Vec::new(), Vec::new());
    bytes_field(&mut label, 1, name.as_bytes());
    bytes_field(&mut label, 2, value.as_bytes());
    bytes_field(&mut out, 1, &label);
    out
}
