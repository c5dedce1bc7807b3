//! Behind a proxy: one that keeps the path and one that cuts it off, driven as a browser, a sender and a probe drive it.

use crate::support::{
    http::{self, Answer},
    server::{Options, TestServer},
};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
};

/// The address that the proxies stand for.
const HOST: &str = "observatory.example";
const PATH: &str = "/deep/obs";
const BROWSER: (&str, &str) = ("Accept", "text/html");

/// What a proxy makes of a request before it passes it on.
#[derive(Clone, Copy)]
struct Rules {
    /// Cuts [`PATH`] off.
    strips: bool,
    /// Leaves `Host` as the browser sent it.
    keeps_host: bool,
}

/// A proxy for [`PATH`]; it answers everything else with 404 itself.
fn proxy(target: &str, rules: Rules) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let target = target.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let target = target.clone();
            std::thread::spawn(move || pass(client, &target, rules));
        }
    });
    address
}

/// One request of a client that closes after it.
fn pass(mut client: TcpStream, target: &str, rules: Rules) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut words = line.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let rest = path.strip_prefix(PATH).filter(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    let Some(rest) = rest else {
        let _ = client.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nConnection: close\r\n\r\nproxy");
        return;
    };
    let cut = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    let mut head = format!("{method} {} HTTP/1.1\r\n", if rules.strips { &cut } else { &path });
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let name = header.split(':').next().unwrap_or_default().to_ascii_lowercase();
        if name == "content-length" {
            length = header[15..].trim().parse().unwrap();
        }
        match name.as_str() {
            "host" if !rules.keeps_host => head.push_str(&format!("Host: {target}\r\n")),
            _ => head.push_str(&header),
        }
        if header == "\r\n" {
            break;
        }
    }
    let mut server = TcpStream::connect(target).unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    server.write_all(head.as_bytes()).and_then(|()| server.write_all(&body)).unwrap();
    let _ = std::io::copy(&mut server, &mut client);
}

/// Somebody who only knows the public address.
struct Visitor {
    proxy: String,
}

impl Visitor {
    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut all = vec![("Host".to_owned(), HOST.to_owned()), ("Connection".to_owned(), "close".to_owned())];
        all.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head: String = all.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut stream = TcpStream::connect(&self.proxy).unwrap();
        stream.write_all(format!("{method} {path} HTTP/1.1\r\n{head}{length}\r\n{body}").as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        http::parse_answer(&bytes, method == "HEAD").unwrap()
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "")
    }
}

/// What `path` means on a page at `from` with a `<base>`: both as a browser resolves them.
fn resolve(from: &str, base: &str, path: &str) -> String {
    let url = reqwest::Url::parse(&format!("http://{HOST}{from}")).unwrap();
    url.join(base).unwrap().join(path).unwrap().path().to_owned()
}

/// Opens the page at `path` and everything that it loads first; gives its text.
fn open(visitor: &Visitor, path: &str) -> String {
    let page = visitor.ask("GET", path, &[BROWSER], "");
    assert_eq!(page.status, 200, "{path}: {page}");
    let text = page.text();
    let base = text.split("<base href=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let named: Vec<&str> = text.split("\"./").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(named.iter().any(|name| name.ends_with(".js")), "{text}");
    for name in named.iter().filter(|name| !name.is_empty()) {
        let file = resolve(path, base, &format!("./{name}"));
        assert!(file.starts_with(&format!("{PATH}/")), "{path} {base} {name}: {file}");
        assert_eq!(visitor.get(&file).status, 200, "{file} of {path}");
    }
    text
}

#[test]
fn it_works_behind_a_proxy_whatever_that_does_to_path_and_host() {
    for strips in [true, false] {
        let mut arguments = vec![format!("--web.external-url=https://{HOST}{PATH}/")];
        arguments.extend(strips.then(|| "--web.route-prefix=/".to_owned()));
        let prefix = if strips { "" } else { PATH };
        let server = TestServer::with(Options { arguments, prefix: prefix.to_owned(), ..Options::default() });
        for keeps_host in [true, false] {
            let case = format!("strips {strips}, keeps host {keeps_host}");
            let visitor = Visitor { proxy: proxy(server.address(), Rules { strips, keeps_host }).to_string() };
            for probe in ["healthy", "ready"] {
                assert_eq!(visitor.get(&format!("{PATH}/-/{probe}")).status, 200, "{case}");
            }
            let push = visitor.ask("POST", &format!("{PATH}/metrics/job/a/b@base64/YS9i"), &[], "m 5\n");
            assert_eq!(push.status, 200, "{case}: {push}");
            let found = visitor.get(&format!("{PATH}/api/v1/query?query=m")).data();
            assert_eq!(
                (&found["result"][0]["metric"]["b"], &found["result"][0]["value"][1]),
                (&"a/b".into(), &"5".into())
            );
            assert!(visitor.get(&format!("{PATH}/metrics")).text().contains("observatory_build_info"), "{case}");
            let paths = ["/", "/explore", "/explore/metrics", "/graph?g0.expr=up", "/alerts", "/classic/targets"];
            for path in paths.map(|path| format!("{PATH}{path}")) {
                let text = open(&visitor, &path);
                let given = format!("data-external=\"https://{HOST}{PATH}/\"");
                assert!(text.contains(&given), "what is copied from {path} works elsewhere: {text}");
            }
            // The page's own writes, as browsers mark them, old ones too; and those of other pages.
            let group = format!("{PATH}/metrics/job/gone");
            let own = format!("https://{HOST}");
            for (origin, site, status) in [
                (own.as_str(), Some("same-origin"), 202),
                (own.as_str(), None, 202),
                ("https://evil.example", Some("cross-site"), 403),
                ("https://evil.example", None, 403),
            ] {
                let mut headers = vec![("Origin", origin)];
                headers.extend(site.map(|site| ("Sec-Fetch-Site", site)));
                assert_eq!(visitor.ask("DELETE", &group, &headers, "").status, status, "{case}: {headers:?}");
            }
        }
        // Without the slash at the end the root is found as well, where it can be told.
        let visitor = Visitor { proxy: proxy(server.address(), Rules { strips, keeps_host: true }).to_string() };
        match strips {
            true => drop(open(&visitor, PATH)),
            false => {
                let sent = visitor.get(PATH);
                assert_eq!((sent.status, sent.header("location")), (302, Some("/deep/obs/")), "{sent}");
            }
        }
        let flags = server.get("/api/v1/status/flags").data();
        assert_eq!(flags["web.external-url"], format!("https://{HOST}{PATH}"));
        assert_eq!(flags["web.route-prefix"], if strips { "/" } else { PATH });
    }
}

#[test]
fn everything_is_below_the_prefix_and_nothing_is_beside_it() {
    let config = "web: {external_url: 'https://observatory.example/deep/obs'}\nself_scrape: true\n";
    let server =
        TestServer::with(Options { config: Some(config.to_owned()), prefix: PATH.to_owned(), ..Options::default() });
    let ask = |method: &str, path: &str| http::raw(server.address(), method, path, &[], b"");
    for path in ["/", PATH, "/?a=b"] {
        let answer = ask("GET", path);
        let query = path.split_once('?').map_or_else(String::new, |(_, query)| format!("?{query}"));
        let expected = format!("{PATH}/{query}");
        assert_eq!((answer.status, answer.header("location")), (302, Some(expected.as_str())), "{path}");
    }
    for path in ["/-/healthy", "/-/ready", "/metrics", "/graph", "/deep", "/deep/obsolete", "/deep/obs2/-/healthy"] {
        let answer = ask("GET", path);
        assert!(answer.status == 404 && answer.text().contains("below /deep/obs/"), "{path}: {answer}");
    }
    assert_eq!(ask("POST", "/metrics/job/a").status, 404);
    assert!(ask("GET", "/api/v1/labels").api_error(404, "not_found").contains("web.route_prefix"));
    // How we look to ourselves, and to others.
    let targets = server.get("/api/v1/targets").data();
    let own = &targets["activeTargets"][0];
    assert_eq!(own["scrapeUrl"], format!("http://{}{PATH}/metrics", server.address()));
    assert_eq!(own["globalUrl"], format!("https://{HOST}{PATH}/metrics"));
    assert!(server.log().contains(&format!("http://{}{PATH}/\n", server.address())), "{}", server.log());
    assert!(server.get("/api/v1/status/config").text().contains("route_prefix: /deep/obs"));
}

#[test]
fn a_wrong_address_is_refused_with_an_example() {
    for (argument, example) in [
        ("--web.external-url=ftp://a/b", "https://example.com/observatory"),
        ("--web.external-url=https://a/?b", "https://example.com/observatory"),
        ("--web.route-prefix=/a b", "/observatory"),
    ] {
        let finished = crate::support::server::run(&["up", argument], |_| {});
        assert_eq!(finished.status.code(), Some(2), "{argument}");
        assert!(finished.text.contains(example) && finished.text.contains("--web."), "{}", finished.text);
    }
}
