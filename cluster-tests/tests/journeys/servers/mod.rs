//! Programs that serve clients outside of the cluster, who check every answer.

mod http;
mod redis;

use std::time::Duration;

use cluster_tests::check::{Load, Scenario};
use cluster_tests::lab::{LabNode, Program, Work};
use cluster_tests::programs::nginx_configuration;

use super::{Length, Traveller, inputs};

pub(crate) const TRAVELLERS: &[Traveller] = &[
    Traveller { name: "redis", needs: &["redis-server", "redis-benchmark"], code: 0, scenario: redis },
    Traveller { name: "nginx", needs: &["nginx"], code: 0, scenario: nginx },
    Traveller { name: "python_http_server", needs: &["python3"], code: 0, scenario: python },
];

fn redis(_: &LabNode, length: Length) -> Scenario {
    let settings = "--protected-mode no --logfile /tmp/redis.log --dir /tmp --dbfilename journey.rdb";
    let program = Program::new("redis-server").args(&settings.split(' ').collect::<Vec<_>>());
    let load = Load {
        port: redis::PORT,
        clients: vec![redis::talk, redis::talk, redis::benchmark],
        time: time(length),
        end: "TERM",
        after: redis::has_saved,
    };
    Scenario { load: Some(load), work: Work::Waits, ..Scenario::new(program) }
}

/// One process, as in nginx's own advice for debugging: its master and workers share writable memory otherwise.
fn nginx(_: &LabNode, length: Length) -> Scenario {
    let settings = "daemon off; master_process off;";
    let program = Program::new("nginx").args(&["-e", "stderr", "-c", "/tmp/nginx.conf", "-g", settings]);
    let load = Load {
        port: http::PORT,
        clients: vec![http::talk_on_one_connection, http::talk_on_one_connection, http::talk],
        time: time(length),
        end: "QUIT",
        after: http::nginx_was_asked_once,
    };
    let mut files = http::files();
    files.push(("/tmp/nginx.conf".into(), nginx_configuration(http::NGINX_HTTP).into()));
    files.push((http::NGINX_LOG.into(), Vec::new()));
    Scenario { files, load: Some(load), work: Work::Waits, ..Scenario::new(program) }
}

fn python(_: &LabNode, length: Length) -> Scenario {
    let serve =
        format!("exec python3 -u -m http.server {} --directory /tmp 2>{}", http::PORT, http::PYTHON_LOG);
    let load = Load {
        port: http::PORT,
        clients: vec![http::talk, http::talk],
        time: time(length),
        end: "INT",
        after: http::python_was_asked_once,
    };
    let mut files = http::files();
    files.push((http::PYTHON_LOG.into(), Vec::new()));
    let program = Program::new("sh").args(&["-c", &serve]);
    Scenario { files, load: Some(load), work: Work::Waits, ..Scenario::new(program) }
}

fn time(length: Length) -> Duration {
    length.of(Duration::from_secs(1), Duration::from_secs(20))
}
