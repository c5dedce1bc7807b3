// Hours of made-up metrics, sent as a Prometheus would: something to look at in tests and screenshots.

const bytes = (...parts) => Buffer.concat(parts);

function varint(value) {
  const out = [];
  let rest = BigInt(value);
  while (rest > 127n) {
    out.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  return Buffer.from([...out, Number(rest)]);
}

const field = (number, body) => bytes(Buffer.from([(number << 3) | 2]), varint(body.length), body);
const text = (number, value) => field(number, Buffer.from(value));

function sample(value, ms) {
  const number = Buffer.alloc(8);
  number.writeDoubleLE(value);
  return bytes(Buffer.from([9]), number, Buffer.from([16]), varint(ms));
}

function series(labels, points) {
  const names = Object.keys(labels).sort();
  return bytes(
    ...names.map((name) => field(1, bytes(text(1, name), text(2, labels[name])))),
    ...points.map(([ms, value]) => field(2, sample(value, ms))),
  );
}

/** The block format of snappy, as literals only: nothing is saved, and any decoder takes it. */
function snappy(body) {
  const parts = [varint(body.length)];
  for (let at = 0; at < body.length; at += 60_000) {
    const piece = body.subarray(at, at + 60_000);
    const length = piece.length - 1;
    parts.push(Buffer.from([61 << 2, length & 255, length >> 8]), piece);
  }
  return Buffer.concat(parts);
}

/** Writes `[labels, points]`, where points are `[milliseconds, value]`. */
export async function write(url, all) {
  for (let at = 0; at < all.length; at += 50) {
    const request = Buffer.concat(all.slice(at, at + 50).map(([labels, points]) => field(1, series(labels, points))));
    const answer = await fetch(`${url}api/v1/write`, {
      method: 'POST',
      body: snappy(request),
      headers: {
        'Content-Type': 'application/x-protobuf',
        'Content-Encoding': 'snappy',
        'X-Prometheus-Remote-Write-Version': '0.1.0',
      },
    });
    if (!answer.ok) throw new Error(`write: ${answer.status} ${await answer.text()}`);
  }
}

const GIB = 1024 ** 3;

/** Numbers that look like chance and are the same in every run. */
function noise(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
}

/** A host, an API with two instances (one of which was gone a while) and their scrapes, up to now. */
export function demo(hours = 3, stepMs = 15_000) {
  const end = Math.floor(Date.now() / stepMs) * stepMs;
  const times = Array.from(
    { length: Math.floor((hours * 3_600_000) / stepMs) },
    (_, index) => end - (Math.floor((hours * 3_600_000) / stepMs) - 1 - index) * stepMs,
  );
  const wave = (ms, minutes) => Math.sin((ms / 60_000 / minutes) * 2 * Math.PI);
  const all = [];
  let seed = 7;
  const gauge = (labels, value) => {
    const random = noise((seed += 11));
    all.push([labels, times.map((ms) => [ms, value(ms, random)])]);
  };
  const counter = (labels, perSecond) => {
    const random = noise((seed += 11));
    let total = 0;
    all.push([labels, times.map((ms) => [ms, (total += Math.max(0, perSecond(ms, random)) * (stepMs / 1000))])]);
  };
  const host = { job: 'node', instance: 'herbert:9100' };
  const node = (name, more = {}) => ({ __name__: name, ...host, ...more });
  for (const cpu of ['0', '1', '2', '3']) {
    const busy = (ms) => 0.22 + 0.14 * wave(ms, 47 + Number(cpu) * 9) + (wave(ms, 61) > 0.93 ? 0.4 : 0);
    counter(node('node_cpu_seconds_total', { cpu, mode: 'user' }), (ms, random) => busy(ms) * 0.7 + random() * 0.06);
    counter(node('node_cpu_seconds_total', { cpu, mode: 'system' }), (ms, random) => busy(ms) * 0.25 + random() * 0.02);
    counter(node('node_cpu_seconds_total', { cpu, mode: 'iowait' }), (ms, random) => 0.015 + random() * 0.02);
    counter(node('node_cpu_seconds_total', { cpu, mode: 'idle' }), (ms, random) => 1 - busy(ms) + random() * 0.05);
  }
  gauge(node('node_memory_MemTotal_bytes'), () => 16 * GIB);
  gauge(node('node_memory_MemAvailable_bytes'), (ms, random) => (8.6 - 1.8 * wave(ms, 90) + random() * 0.2) * GIB);
  gauge(node('node_memory_SwapTotal_bytes'), () => 4 * GIB);
  gauge(node('node_memory_SwapFree_bytes'), (ms) => (3.7 + 0.1 * wave(ms, 140)) * GIB);
  for (const [name, minutes] of [
    ['node_load1', 13],
    ['node_load5', 34],
    ['node_load15', 80],
  ]) {
    gauge(node(name), (ms, random) => 1.1 + 0.7 * wave(ms, minutes) + (random() * 5) / minutes);
  }
  for (const [mountpoint, share] of [
    ['/', 0.42],
    ['/data', 0.71],
  ]) {
    gauge(
      node('node_filesystem_size_bytes', { mountpoint, fstype: 'ext4', device: `/dev/vd${mountpoint.length}` }),
      () => 200 * GIB,
    );
    gauge(
      node('node_filesystem_avail_bytes', { mountpoint, fstype: 'ext4', device: `/dev/vd${mountpoint.length}` }),
      (ms) => (1 - share - 0.00000000001 * (ms % 1e9)) * 200 * GIB,
    );
  }
  counter(
    node('node_disk_read_bytes_total', { device: 'vda' }),
    (ms, random) => 3e6 + 2.4e6 * wave(ms, 21) + random() * 2e6,
  );
  counter(
    node('node_disk_written_bytes_total', { device: 'vda' }),
    (ms, random) => 6e6 + 3e6 * wave(ms, 33) + random() * 5e6,
  );
  counter(
    node('node_network_receive_bytes_total', { device: 'eth0' }),
    (ms, random) => 8e5 + 5e5 * wave(ms, 55) + random() * 3e5,
  );
  counter(
    node('node_network_transmit_bytes_total', { device: 'eth0' }),
    (ms, random) => 3e5 + 2e5 * wave(ms, 55) + random() * 1e5,
  );
  const gone = (ms) => end - ms > 25 * 60_000 && end - ms < 34 * 60_000;
  for (const [job, instance] of [
    ['node', 'herbert:9100'],
    ['api', 'api-1:8080'],
    ['api', 'api-2:8080'],
  ]) {
    const away = (ms) => instance === 'api-2:8080' && gone(ms);
    gauge({ __name__: 'up', job, instance }, (ms) => (away(ms) ? 0 : 1));
    gauge({ __name__: 'scrape_samples_scraped', job, instance }, (ms) => (away(ms) ? 0 : job === 'api' ? 84 : 31));
    gauge({ __name__: 'scrape_duration_seconds', job, instance }, (ms, random) => 0.012 + 0.004 * random());
  }
  for (const instance of ['api-1:8080', 'api-2:8080']) {
    for (const [path, weight] of [
      ['/login', 1],
      ['/orders', 6],
      ['/orders/:id', 9],
      ['/health', 2],
    ]) {
      for (const [code, share] of [
        ['200', 1],
        ['500', 0.012],
      ]) {
        counter({ __name__: 'http_requests_total', job: 'api', instance, path, code }, (ms, random) =>
          instance === 'api-2:8080' && gone(ms) ? 0 : weight * share * (2 + wave(ms, 70) + random()),
        );
      }
    }
    for (const [le, share] of [
      ['0.05', 0.55],
      ['0.1', 0.8],
      ['0.25', 0.93],
      ['0.5', 0.98],
      ['1', 0.995],
      ['+Inf', 1],
    ]) {
      counter(
        { __name__: 'http_request_duration_seconds_bucket', job: 'api', instance, le },
        (ms) => 30 * (2 + wave(ms, 70)) * share,
      );
    }
  }
  return all;
}

/** What jobs of a small team push. */
export const PUSHES = [
  [
    'job/backup/instance/herbert',
    '# HELP backup_size_bytes Size of the last backup.\n# TYPE backup_size_bytes gauge\nbackup_size_bytes 7.3e10\n# HELP backup_duration_seconds How long it took.\n# TYPE backup_duration_seconds gauge\nbackup_duration_seconds 412.7\n',
  ],
  [
    'job/ci/branch/main/repository/shop',
    '# HELP ci_tests_total Tests by outcome.\n# TYPE ci_tests_total gauge\nci_tests_total{outcome="passed"} 1284\nci_tests_total{outcome="failed"} 0\nci_tests_total{outcome="skipped"} 7\n# HELP ci_coverage_ratio Lines covered.\n# TYPE ci_coverage_ratio gauge\nci_coverage_ratio 0.847\n# TYPE ci_step_duration_seconds histogram\nci_step_duration_seconds_bucket{le="10"} 3\nci_step_duration_seconds_bucket{le="60"} 9\nci_step_duration_seconds_bucket{le="+Inf"} 11\nci_step_duration_seconds_sum 402.1\nci_step_duration_seconds_count 11\n',
  ],
  [
    'job/ci/branch/release-2/repository/shop',
    '# TYPE ci_tests_total gauge\nci_tests_total{outcome="passed"} 1270\nci_tests_total{outcome="failed"} 2\n',
  ],
  [
    'job/certificates',
    '# HELP certificate_days_left Days until the certificate ends.\n# TYPE certificate_days_left gauge\ncertificate_days_left{host="shop.example"} 41\ncertificate_days_left{host="api.example"} 12\n',
  ],
];
