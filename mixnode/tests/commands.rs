//! The program as an operator meets it: commands, the `ready` line, signals, exit codes.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    fs,
    io::{BufRead, BufReader},
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};
use veilpost_packet::{
    ids::NodeId,
    primitives::SigningSecret,
    sphinx::SphinxSecret,
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    Descriptor, NetworkFile, Params, Relay, Schedule, View,
    document::{Memory, Placement},
    network::NetworkAuthority,
    signed::sign_view,
};

fn program(command: &str, config: &Path) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_veilpost-mixnode"));
    program.arg(command).arg("--config").arg(config);
    program
}

fn output(command: &str, config: &Path) -> Output {
    program(command, config).output().unwrap()
}

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn write_config(folder: &Path, extra: &str) -> PathBuf {
    let path = folder.join("node.toml");
    let listen = format!("127.0.0.1:{}", free_port());
    let text = format!(
        "role = \"mix\"\n{extra}\n[node]\ndata_dir = \"data\"\nlisten = \"{listen}\"\n\
         network = \"network.toml\"\ndocument = \"document\"\n"
    );
    fs::write(&path, text).unwrap();
    path
}

fn stranger(seed: u8) -> Relay {
    let key = SphinxSecret::from_seed([seed; 32]).public();
    Relay {
        id: SigningSecret::from_seed(&[seed; 32]).node_id(),
        addresses: Vec::new(),
        onion: None,
        link_key: veilpost_packet::ids::LinkKey([seed; 32]),
        sphinx_key: key,
        next_sphinx_key: key,
        weight: 1,
        reliability: u8::MAX,
        family: format!("family {seed}"),
    }
}

/// A network in which the node of the folder is the only mix of layer 2.
fn write_network(folder: &Path) -> NodeId {
    let descriptor = Descriptor::verify(&fs::read(folder.join("data/descriptor")).unwrap()).unwrap();
    let authority = SigningSecret::from_seed(&[99; 32]);
    let file = NetworkFile {
        name: "commands".into(),
        faulty: 0,
        schedule: Schedule { genesis: 0, epoch_ms: 3_600_000, phase_ms: 1_000 },
        authorities: vec![NetworkAuthority {
            id: authority.authority_id(),
            link_key: veilpost_packet::ids::LinkKey([99; 32]),
            address: ([127, 0, 0, 1], 9).into(),
        }],
        later: Vec::new(),
        entries: Vec::new(),
        tor: None,
    };
    let mut own = stranger(2);
    own.id = descriptor.id;
    own.link_key = descriptor.link_key;
    own.sphinx_key = *descriptor.sphinx_keys.first().unwrap();
    let mailbox = stranger(5);
    let view = View {
        network: file.authority_set().unwrap().network(),
        epoch: Epoch(1),
        valid_after: Timestamp::ZERO,
        valid_until: Timestamp::FAR_FUTURE,
        params: Params::standard(),
        shared_random: [0; 32],
        put_effort: 0,
        layers: vec![vec![stranger(1)], vec![own], vec![stranger(3)]],
        entries: vec![stranger(4)],
        placements: vec![Placement { from: Epoch(1), mailboxes: vec![mailbox.id] }],
        memory: Memory::default(),
        mailboxes: vec![mailbox],
    };
    fs::write(folder.join("network.toml"), file.to_text()).unwrap();
    fs::write(folder.join("document"), sign_view(&view, &[authority])).unwrap();
    descriptor.id
}

/// A running node; killed if a test fails.
struct Running(Child);

impl Running {
    fn start(config: &Path) -> Self {
        let mut child = program("run", config).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let running = Self(child);
        assert_eq!(line, "ready\n");
        running
    }

    fn signal(&mut self, name: &str) -> Option<i32> {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.0.id().to_string()).status().unwrap();
        assert!(sent.success());
        for _ in 0..1_500 {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the node does not stop");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_node_runs_until_it_is_told_to_stop_and_starts_again_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path(), "");
    assert_eq!(output("init", &config).status.code(), Some(0));
    write_network(folder.path());
    assert_eq!(output("check-config", &config).status.code(), Some(0));
    assert_eq!(Running::start(&config).signal("TERM"), Some(0));
    assert_eq!(Running::start(&config).signal("KILL"), None);
    assert_eq!(Running::start(&config).signal("INT"), Some(0));
}

#[test]
fn a_node_without_keys_says_what_to_do_and_exits_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path(), "");
    output("init", &config);
    write_network(folder.path());
    fs::remove_dir_all(folder.path().join("data")).unwrap();
    let failed = output("run", &config);
    assert_eq!(failed.status.code(), Some(2));
    assert!(text(&failed.stderr).contains("init"), "{}", text(&failed.stderr));
}

#[test]
fn a_misspelt_key_is_an_error_with_file_and_line_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path(), "rolle = \"entry\"");
    for command in ["init", "check-config", "run"] {
        let failed = output(command, &config);
        let error = text(&failed.stderr);
        assert_eq!(failed.status.code(), Some(2));
        assert!(error.contains("node.toml") && error.contains("line 2") && error.contains("rolle"), "{error}");
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    let program = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_veilpost-mixnode")).args(arguments).output().unwrap().status.code()
    };
    assert_eq!(program(&["run"]), Some(2));
    assert_eq!(program(&["fly"]), Some(2));
    assert_eq!(program(&["--version"]), Some(0));
}

#[test]
fn a_document_that_does_not_verify_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path(), "");
    output("init", &config);
    write_network(folder.path());
    let document = folder.path().join("document");
    let mut bytes = fs::read(&document).unwrap();
    // The last byte of the last signature; behind it stands the number of hand-overs.
    *bytes.iter_mut().nth_back(1).unwrap() ^= 1;
    fs::write(&document, bytes).unwrap();
    for command in ["check-config", "run"] {
        let failed = output(command, &config);
        assert_eq!(failed.status.code(), Some(2));
        assert!(text(&failed.stderr).contains("signatures"), "{}", text(&failed.stderr));
    }
}
