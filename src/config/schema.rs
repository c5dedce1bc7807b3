//! The keys of `observatory.yml`, Prometheus' among them, as one table: what may stand where, and what it may be.

use Shape::{Any, Bool, Duration, List, ListOrNone, Map, Number, OneOf, Size, Text, TextMap, Texts, Whole};

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    Any,
    Text,
    Bool,
    /// A whole number, not negative.
    Whole,
    Number,
    /// `1h30m`.
    Duration,
    /// `16MiB`, `10MB` (both count in 1024), or a number of bytes.
    Size,
    OneOf(&'static [&'static str]),
    Texts,
    TextMap,
    List(&'static Shape),
    /// The word `none` is an empty list.
    ListOrNone(&'static Shape),
    /// The keys of all these tables together.
    Map(&'static [&'static [Key]]),
}

/// A key of a map.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub shape: Shape,
    /// For keys of Prometheus that do nothing here yet: what therefore does not happen.
    pub inactive: Option<&'static str>,
}

const fn key(name: &'static str, shape: Shape) -> Key {
    Key { name, shape, inactive: None }
}

const fn inactive(name: &'static str, shape: Shape, consequence: &'static str) -> Key {
    Key { name, shape, inactive: Some(consequence) }
}

/// The whole file.
pub const ROOT: Shape = Map(&[OURS, PROMETHEUS]);

const OURS: &[Key] = &[
    key("listen", Text),
    key("data", Text),
    key("auth", Map(&[AUTH])),
    key("limits", Map(&[LIMITS])),
    key("web", Map(&[WEB])),
    key("features", Texts),
    key("hosts", Map(&[HOSTS])),
    key("self_scrape", Bool),
    key("backup", Map(&[BACKUP])),
    key("mailbox", Map(&[MAILBOX])),
    key("sonar", Map(&[SONAR])),
];

const WEB: &[Key] = &[key("external_url", Text), key("route_prefix", Text), key("hosts", Texts)];

const HOSTS: &[Key] = &[key("enabled", Bool), key("interval", Duration)];

const BACKUP: &[Key] = &[key("directory", Text), key("interval", Duration), key("keep", Whole)];

const MAILBOX: &[Key] = &[
    key("redis", Text),
    key("redis_password_file", Text),
    key("prefix", Text),
    key("agent", Text),
    key("stream", Text),
    key("stream_length", Whole),
    key("max_bytes", Size),
    key("max_age", Duration),
    key("attempts", Whole),
];

const SONAR: &[Key] = &[
    key("url", Text),
    key("token_file", Text),
    key("organization", Text),
    // `all`, or a list of keys.
    key("projects", Any),
    // `main`, `all`, or a list of names.
    key("branches", Any),
    // `default`, or a list of keys.
    key("metrics", Any),
    key("interval", Duration),
    // `all`, or a duration.
    key("history", Text),
    key("calls_per_hour", Whole),
    key("webhook_secret_file", Text),
    key("names", Text),
];

const AUTH: &[Key] = &[key("tokens", List(&Map(&[TOKEN])))];

const TOKEN: &[Key] = &[key("name", Text), key("token_file", Text), key("sha256", Text), key("scopes", Texts)];

const LIMITS: &[Key] = &[
    key("connections_max", Whole),
    key("connections_per_address_max", Whole),
    key("body_bytes_max", Size),
    key("query_timeout", Duration),
    key("query_samples_max", Whole),
    key("query_samples_scanned_max", Whole),
    key("query_bytes_max", Size),
    key("query_concurrent_max", Whole),
    key("query_lookback_delta", Duration),
    key("pushes_per_minute_max", Whole),
    key("failed_logins_per_minute_max", Whole),
    key("series_per_job", Whole),
    key("series_per_token", Whole),
];

const PROMETHEUS: &[Key] = &[
    key("global", Map(&[GLOBAL])),
    inactive("runtime", Map(&[&[key("gogc", Whole)]]), "it tunes a garbage collector, and there is none here"),
    inactive("rule_files", Texts, "no rule is evaluated"),
    inactive("scrape_config_files", Texts, "what is in these files is not scraped; write it under `scrape_configs`"),
    key("scrape_configs", List(&Map(&[SCRAPE, HTTP, DISCOVERY]))),
    inactive("alerting", Map(&[ALERTING]), "no alert is sent"),
    inactive("remote_write", List(&Map(&[REMOTE_WRITE, HTTP])), "nothing is sent on to another store"),
    inactive("remote_read", List(&Map(&[REMOTE_READ, HTTP])), "no other store is asked"),
    key("storage", Map(&[STORAGE])),
    inactive("tracing", Map(&[TRACING]), "no trace is sent"),
    inactive("otlp", Map(&[OTLP]), "OTLP is not received"),
];

const STORAGE: &[Key] = &[
    key("retention", Duration),
    key("tiers", ListOrNone(&Map(&[TIER]))),
    key("policies", List(&Map(&[POLICY]))),
    key("max_bytes", Size),
    key("max_disk_percent", Whole),
    key("series_max", Whole),
    key("memory_max", Size),
    key("tsdb", Map(&[TSDB])),
    key("exemplars", Map(&[&[key("max_exemplars", Whole)]])),
];

const TIER: &[Key] = &[key("resolution", Duration), key("retention", Duration)];

const POLICY: &[Key] = &[key("match", Text), key("raw", Duration), key("tiers", ListOrNone(&Duration))];

const TSDB: &[Key] = &[
    inactive("out_of_order_time_window", Duration, "samples of any age within `storage.retention` are taken"),
    inactive("stale_series_compaction_threshold", Number, "series leave memory when their window is sealed"),
    inactive("chunk_encoding", Map(&[&[key("floats", Text)]]), "there is one encoding"),
    key("retention", Map(&[&[key("time", Duration), key("size", Size), key("percentage", Number)]])),
];

const PROTOCOLS: Shape = Texts;
const SCHEME: Shape = OneOf(&["http", "https"]);
const NAME_VALIDATION: Shape = OneOf(&["utf8", "legacy"]);
const NAME_ESCAPING: Shape = OneOf(&["allow-utf-8", "underscores", "dots", "values"]);

/// Why the keys of native histograms do nothing.
const NATIVE: &str = "native histograms come in protobuf alone, which targets are not asked for";

/// Why every way to find targets but one does nothing.
const DISCOVERED: &str = "no target is found this way; write targets under `static_configs`";

const GLOBAL: &[Key] = &[
    key("scrape_interval", Duration),
    key("scrape_timeout", Duration),
    key("scrape_protocols", PROTOCOLS),
    inactive("evaluation_interval", Duration, "no rule is evaluated"),
    inactive("rule_query_offset", Duration, "no rule is evaluated"),
    inactive("query_log_file", Text, "queries are not logged to a file"),
    inactive("scrape_failure_log_file", Text, "failures are in the log and on the targets page"),
    key("external_labels", TextMap),
    key("body_size_limit", Size),
    key("sample_limit", Whole),
    key("target_limit", Whole),
    key("label_limit", Whole),
    key("label_name_length_limit", Whole),
    key("label_value_length_limit", Whole),
    inactive("keep_dropped_targets", Whole, "no target is dropped before relabelling works"),
    inactive("metric_name_validation_scheme", NAME_VALIDATION, "every UTF-8 name is accepted"),
    inactive("metric_name_escaping_scheme", NAME_ESCAPING, "names are asked for unescaped"),
    inactive("scrape_native_histograms", Bool, NATIVE),
    inactive("convert_classic_histograms_to_nhcb", Bool, NATIVE),
    inactive("always_scrape_classic_histograms", Bool, NATIVE),
    key("extra_scrape_metrics", Bool),
];

const SCRAPE: &[Key] = &[
    key("job_name", Text),
    key("scrape_interval", Duration),
    key("scrape_timeout", Duration),
    key("scrape_protocols", PROTOCOLS),
    key("fallback_scrape_protocol", Text),
    inactive("scrape_native_histograms", Bool, NATIVE),
    inactive("always_scrape_classic_histograms", Bool, NATIVE),
    inactive("convert_classic_histograms_to_nhcb", Bool, NATIVE),
    key("metrics_path", Text),
    key("honor_labels", Bool),
    key("honor_timestamps", Bool),
    key("track_timestamps_staleness", Bool),
    key("scheme", SCHEME),
    key("params", Any),
    key("enable_compression", Bool),
    inactive("scrape_failure_log_file", Text, "failures are in the log and on the targets page"),
    key("body_size_limit", Size),
    key("sample_limit", Whole),
    key("label_limit", Whole),
    key("label_name_length_limit", Whole),
    key("label_value_length_limit", Whole),
    key("target_limit", Whole),
    inactive("native_histogram_bucket_limit", Whole, NATIVE),
    inactive("native_histogram_min_bucket_factor", Number, NATIVE),
    inactive("keep_dropped_targets", Whole, "no target is dropped before relabelling works"),
    inactive("metric_name_validation_scheme", NAME_VALIDATION, "every UTF-8 name is accepted"),
    inactive("metric_name_escaping_scheme", NAME_ESCAPING, "names are asked for unescaped"),
    key("extra_scrape_metrics", Bool),
    inactive("relabel_configs", RELABEL, "targets keep the labels they are found with"),
    inactive("metric_relabel_configs", RELABEL, "series are stored as the targets show them"),
];

const RELABEL: Shape = List(&Map(&[&[
    key("source_labels", Texts),
    key("separator", Text),
    key("target_label", Text),
    key("regex", Text),
    key("modulus", Whole),
    key("replacement", Text),
    key("action", Text),
]]));

const TLS: Shape = Map(&[&[
    key("ca", Text),
    key("ca_file", Text),
    key("cert", Text),
    key("cert_file", Text),
    key("key", Text),
    key("key_file", Text),
    key("server_name", Text),
    key("insecure_skip_verify", Bool),
    inactive("min_version", Text, "TLS 1.2 and 1.3 are spoken"),
    inactive("max_version", Text, "TLS 1.2 and 1.3 are spoken"),
]]);

const PROXY: &[Key] = &[
    key("proxy_url", Text),
    key("no_proxy", Text),
    key("proxy_from_environment", Bool),
    key("proxy_connect_header", Any),
];

const HTTP: &[Key] = &[
    key(
        "basic_auth",
        Map(&[&[key("username", Text), key("username_file", Text), key("password", Text), key("password_file", Text)]]),
    ),
    key("authorization", Map(&[&[key("type", Text), key("credentials", Text), key("credentials_file", Text)]])),
    inactive("oauth2", Map(&[OAUTH2, PROXY]), "no token is fetched, requests go without"),
    key("follow_redirects", Bool),
    inactive("enable_http2", Bool, "requests are HTTP/1.1"),
    key("tls_config", TLS),
    inactive("proxy_url", Text, "requests go directly to the target"),
    inactive("no_proxy", Text, "requests go directly to the target"),
    inactive("proxy_from_environment", Bool, "requests go directly to the target"),
    inactive("proxy_connect_header", Any, "requests go directly to the target"),
    inactive("http_headers", Any, "these headers are not sent"),
    key("bearer_token", Text),
    key("bearer_token_file", Text),
];

const OAUTH2: &[Key] = &[
    key("client_id", Text),
    key("client_secret", Text),
    key("client_secret_file", Text),
    key("scopes", Texts),
    key("token_url", Text),
    key("endpoint_params", TextMap),
    key("tls_config", TLS),
];

const STATIC: Shape = List(&Map(&[&[key("targets", Texts), key("labels", TextMap)]]));

/// Ways to find targets. What a cloud's own way may hold is checked when that way works.
const DISCOVERY: &[Key] = &[
    key("static_configs", STATIC),
    inactive("file_sd_configs", List(&Map(&[&[key("files", Texts), key("refresh_interval", Duration)]])), DISCOVERED),
    inactive(
        "http_sd_configs",
        List(&Map(&[&[key("url", Text), key("refresh_interval", Duration)], HTTP])),
        DISCOVERED,
    ),
    inactive(
        "dns_sd_configs",
        List(&Map(&[&[key("names", Texts), key("type", Text), key("port", Whole), key("refresh_interval", Duration)]])),
        DISCOVERED,
    ),
    inactive("docker_sd_configs", List(&Any), DISCOVERED),
    inactive("dockerswarm_sd_configs", List(&Any), DISCOVERED),
    inactive("azure_sd_configs", List(&Any), DISCOVERED),
    inactive("consul_sd_configs", List(&Any), DISCOVERED),
    inactive("digitalocean_sd_configs", List(&Any), DISCOVERED),
    inactive("ec2_sd_configs", List(&Any), DISCOVERED),
    inactive("eureka_sd_configs", List(&Any), DISCOVERED),
    inactive("gce_sd_configs", List(&Any), DISCOVERED),
    inactive("hetzner_sd_configs", List(&Any), DISCOVERED),
    inactive("ionos_sd_configs", List(&Any), DISCOVERED),
    inactive("kubernetes_sd_configs", List(&Any), DISCOVERED),
    inactive("kuma_sd_configs", List(&Any), DISCOVERED),
    inactive("lightsail_sd_configs", List(&Any), DISCOVERED),
    inactive("linode_sd_configs", List(&Any), DISCOVERED),
    inactive("marathon_sd_configs", List(&Any), DISCOVERED),
    inactive("nerve_sd_configs", List(&Any), DISCOVERED),
    inactive("nomad_sd_configs", List(&Any), DISCOVERED),
    inactive("openstack_sd_configs", List(&Any), DISCOVERED),
    inactive("ovhcloud_sd_configs", List(&Any), DISCOVERED),
    inactive("puppetdb_sd_configs", List(&Any), DISCOVERED),
    inactive("scaleway_sd_configs", List(&Any), DISCOVERED),
    inactive("serverset_sd_configs", List(&Any), DISCOVERED),
    inactive("stackit_sd_configs", List(&Any), DISCOVERED),
    inactive("triton_sd_configs", List(&Any), DISCOVERED),
    inactive("uyuni_sd_configs", List(&Any), DISCOVERED),
    inactive("vultr_sd_configs", List(&Any), DISCOVERED),
];

const ALERTING: &[Key] =
    &[key("alert_relabel_configs", RELABEL), key("alertmanagers", List(&Map(&[ALERTMANAGER, HTTP, DISCOVERY])))];

const ALERTMANAGER: &[Key] = &[
    key("scheme", SCHEME),
    key("path_prefix", Text),
    key("timeout", Duration),
    key("api_version", Text),
    key("relabel_configs", RELABEL),
    key("alert_relabel_configs", RELABEL),
    key("sigv4", Any),
];

const REMOTE_WRITE: &[Key] = &[
    key("url", Text),
    key("remote_timeout", Duration),
    key("headers", TextMap),
    key("name", Text),
    key("write_relabel_configs", RELABEL),
    key("send_exemplars", Bool),
    key("send_native_histograms", Bool),
    key("protobuf_message", Text),
    key("round_robin_dns", Bool),
    key("metadata_config", Map(&[METADATA_QUEUE])),
    key("queue_config", Map(&[QUEUE])),
    key("sigv4", Any),
    key("azuread", Any),
    key("google_iam", Any),
];

const METADATA_QUEUE: &[Key] = &[key("send", Bool), key("send_interval", Duration), key("max_samples_per_send", Whole)];

const QUEUE: &[Key] = &[
    key("capacity", Whole),
    key("max_shards", Whole),
    key("min_shards", Whole),
    key("max_samples_per_send", Whole),
    key("batch_send_deadline", Duration),
    key("min_backoff", Duration),
    key("max_backoff", Duration),
    key("retry_on_http_429", Bool),
    key("sample_age_limit", Duration),
];

const REMOTE_READ: &[Key] = &[
    key("url", Text),
    key("remote_timeout", Duration),
    key("chunked_read_limit", Size),
    key("headers", TextMap),
    key("name", Text),
    key("required_matchers", TextMap),
    key("read_recent", Bool),
    key("filter_external_labels", Bool),
];

const TRACING: &[Key] = &[
    key("client_type", OneOf(&["grpc", "http"])),
    key("endpoint", Text),
    key("sampling_fraction", Number),
    key("insecure", Bool),
    key("tls_config", TLS),
    key("headers", TextMap),
    key("compression", Text),
    key("timeout", Duration),
];

const OTLP: &[Key] = &[
    key("promote_resource_attributes", Texts),
    key("promote_all_resource_attributes", Bool),
    key("ignore_resource_attributes", Texts),
    key("translation_strategy", Text),
    key("keep_identifying_resource_attributes", Bool),
    key("convert_histograms_to_nhcb", Bool),
    key("promote_scope_metadata", Bool),
    key("label_name_underscore_sanitization", Bool),
    key("label_name_preserve_multiple_underscores", Bool),
];
