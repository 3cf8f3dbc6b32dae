//! Bytes between a moved program and the world, and between the nodes on its way.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use cluster_tests::lab::{Ground, LabNode, Program, Stay, Work};
use cluster_tests::programs::GuestProgram;
use cluster_tests::support::{PATIENCE, cluster, is_full, migrate, wait_for};
use ring::digest::{Context, SHA256};
use tempfile::TempDir;

/// Sends everything back, and says in the end how much came and what its checksum was.
const SERVER: &str = r#"
use IO::Socket::INET; use Digest::SHA;
my $listener = IO::Socket::INET->new(LocalPort => $ARGV[0], Listen => 1, ReuseAddr => 1) or die "listen: $!";
$| = 1; print "listens\n";
my $client = $listener->accept or die "accept: $!";
my ($sum, $count) = (Digest::SHA->new(256), 0);
while (my $got = sysread $client, my $data, 65536) {
    $sum->add($data); $count += $got;
    for (my $sent = 0; $sent < $got;) { $sent += syswrite($client, $data, $got - $sent, $sent) // die "send: $!" }
}
print "$count ", $sum->hexdigest, "\n";
"#;

/// The client is this very machine, which is in no cluster; it connects before the first move and never again.
pub(crate) fn a_connection_from_outside_outlives_ten_moves(ground: Ground) {
    let lab = cluster(ground, 3);
    let server = Program::new("perl").args(&["-e", SERVER, PORT]);
    let server = lab.node(1).exec(&server).unwrap();
    server.wait_for_output(PATIENCE, |output| output == b"listens\n").unwrap();
    let address = (lab.node(1).address(), PORT.parse().unwrap());
    let client = Talk::begin(TcpStream::connect(address).unwrap());
    for (number, to) in ["n2", "n3", "home"].into_iter().cycle().take(MOVES).enumerate() {
        let before = client.received();
        migrate(&lab, server.pid(), to);
        if to != "home" {
            let guest = lab.nodes().iter().find(|node| node.name() == to).unwrap();
            Stay::prove(server.outer_pid(), guest, Work::Waits, PATIENCE).unwrap();
        }
        wait_for(&format!("more of the answer after move {}", number + 1), || client.received() > before);
    }
    let (sent, sums) = client.end(if is_full() { 100 << 20 } else { 16 << 20 });
    let [sent_sum, received_sum] = sums;
    assert_eq!(received_sum, sent_sum, "what came back is something else");
    let finished = server.finish(PATIENCE).unwrap();
    assert_eq!(finished.code, 0, "{}", String::from_utf8_lossy(&finished.errors));
    assert_eq!(
        finished.text(),
        format!("listens\n{sent} {sent_sum}"),
        "what the server got is something else"
    );
    println!("{MOVES} moves, {sent} bytes each way on one connection");
}

/// A client that sends all the time, checks what comes back, and shares how far it is.
struct Talk {
    stream: TcpStream,
    enough: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
    broken: Arc<AtomicBool>,
    writer: thread::JoinHandle<(u64, String)>,
    reader: thread::JoinHandle<(u64, String)>,
}

impl Talk {
    fn begin(stream: TcpStream) -> Talk {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let (enough, received) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(AtomicU64::new(0)));
        let broken = Arc::new(AtomicBool::new(false));
        let writer = {
            let (mut stream, enough) = (stream.try_clone().unwrap(), Arc::clone(&enough));
            thread::spawn(move || {
                let (mut sum, mut sent) = (Context::new(&SHA256), 0);
                let mut noise: u64 = 20_260_101;
                while sent < enough.load(Ordering::Relaxed) {
                    let piece: Vec<u8> =
                        std::iter::repeat_with(|| next(&mut noise)).take(PIECE_WORDS).flatten().collect();
                    stream.write_all(&piece).expect("the connection takes what is sent");
                    sum.update(&piece);
                    sent += piece.len() as u64;
                    thread::sleep(PIECE_INTERVAL);
                }
                stream.shutdown(Shutdown::Write).expect("the connection is still there");
                (sent, hex(sum))
            })
        };
        let reader = {
            let (mut stream, received, broken) =
                (stream.try_clone().unwrap(), Arc::clone(&received), Arc::clone(&broken));
            thread::spawn(move || {
                let (mut sum, mut buffer) = (Context::new(&SHA256), vec![0; 64 << 10]);
                loop {
                    let count = stream.read(&mut buffer).unwrap_or_else(|error| {
                        broken.store(true, Ordering::Relaxed);
                        panic!("the connection broke: {error}")
                    });
                    if count == 0 {
                        return (received.load(Ordering::Relaxed), hex(sum));
                    }
                    sum.update(&buffer[..count]);
                    received.fetch_add(count as u64, Ordering::Relaxed);
                }
            })
        };
        Talk { stream, enough, received, broken, writer, reader }
    }

    fn received(&self) -> u64 {
        assert!(!self.broken.load(Ordering::Relaxed), "the connection broke");
        self.received.load(Ordering::Relaxed)
    }

    /// Goes on until so many bytes were sent at least; how many it were, and the checksums of both directions.
    fn end(self, bytes_min: u64) -> (u64, [String; 2]) {
        self.enough.store(bytes_min, Ordering::Relaxed);
        let (sent, sent_sum) = self.writer.join().unwrap();
        let (received, received_sum) = self.reader.join().unwrap();
        drop(self.stream);
        assert_eq!(received, sent, "bytes were lost or came twice");
        (sent, [sent_sum, received_sum])
    }
}

/// The pages go from guest to guest; home only tells them to.
pub(crate) fn home_is_not_in_the_path_of_a_hop() {
    let (lab, directory) = (cluster(Ground::Namespaces, 3), TempDir::new().unwrap());
    let program = GuestProgram::Memhash.build(directory.path()).unwrap();
    lab.node(1).install(&program, "/tmp/memhash").unwrap();
    let program = Program::new("/tmp/memhash").args(&[&HEAP_MIB.to_string(), "100000"]);
    let running = lab.node(1).exec(&program).unwrap();
    // Every page is filled once the first pass is told.
    running
        .wait_for_output(PATIENCE, |output| output.iter().filter(|&&byte| byte == b'\n').count() > 1)
        .unwrap();
    migrate(&lab, running.pid(), "n2");
    for to in ["n3", "n2", "n3"] {
        let before = [traffic(lab.node(1)), traffic(lab.node(2))];
        migrate(&lab, running.pid(), to);
        let [home, guest] = [traffic(lab.node(1)) - before[0], traffic(lab.node(2)) - before[1]];
        let image = HEAP_MIB << 20;
        println!("hop to {to}: {home} bytes at home, {guest} at n2, {image} in the heap");
        assert!(guest > image, "the pages were not counted: {guest} bytes at n2");
        assert!(home * 20 < image, "{home} bytes at home for a heap of {image}");
    }
    let guest = lab.node(3);
    Stay::prove(running.outer_pid(), guest, Work::Computes, PATIENCE).unwrap();
}

/// Bytes that a node has sent and received so far, as its kernel counts them.
fn traffic(node: &LabNode) -> u64 {
    let table = std::fs::read_to_string(format!("/proc/{}/net/dev", node.init_pid())).unwrap();
    let interfaces = table.lines().filter_map(|line| line.split_once(':'));
    let others = interfaces.filter(|(name, _)| name.trim() != "lo");
    let counted = others.map(|(_, counters)| {
        let numbers: Vec<u64> = counters.split_whitespace().map(|number| number.parse().unwrap()).collect();
        numbers[0] + numbers[8]
    });
    counted.sum()
}

fn next(noise: &mut u64) -> [u8; 8] {
    *noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*noise ^ (*noise >> 32)).to_le_bytes()
}

fn hex(sum: Context) -> String {
    sum.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

const PORT: &str = "9000";
const MOVES: usize = 10;

/// Eight bytes each.
const PIECE_WORDS: usize = 4096;

/// So that the machine has time for the moves too: at most 16 MiB/s.
const PIECE_INTERVAL: Duration = Duration::from_millis(2);

const HEAP_MIB: u64 = 64;
