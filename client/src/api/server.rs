//! The socket: where it is, who may open it, how it ends.

use super::routes;
use crate::handle::CoreHandle;
use sha2::{Digest, Sha256};
use std::{
    fs, io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::net::UnixListener;

/// Longest path of a Unix socket that the system accepts, bytes.
pub const SOCKET_PATH_MAX: usize = 107;
/// How long open requests may go on after the core has ended.
const GRACE: Duration = Duration::from_secs(5);

/// The places a socket can be, for one home folder.
#[derive(Debug, Clone)]
pub struct SocketPlaces {
    /// The home folder, absolute.
    pub home: PathBuf,
    /// `$XDG_RUNTIME_DIR`, if set.
    pub runtime_dir: Option<PathBuf>,
    /// The folder for temporary files.
    pub temp_dir: PathBuf,
}

impl SocketPlaces {
    /// `HOME/api.sock`; if that is longer than [`SOCKET_PATH_MAX`], `api.sock` in a private folder named after the home
    /// folder's hash, in the runtime folder, else in the folder for temporary files.
    pub fn socket(&self) -> PathBuf {
        let in_home = self.home.join(SOCKET);
        if fits(&in_home) {
            return in_home;
        }
        let digest = Sha256::digest(self.home.as_os_str().as_bytes());
        let name = data_encoding::HEXLOWER.encode(digest.get(..8).unwrap_or_default());
        let mut in_runtime = self.runtime_dir.iter().map(|dir| dir.join(format!("veilpost-{name}")).join(SOCKET));
        in_runtime
            .find(|path| path.is_absolute() && fits(path))
            .unwrap_or_else(|| self.temp_dir.join(format!("veilpost-{name}")).join(SOCKET))
    }

    /// Opens the socket, mode 0600, in a folder that only we can enter. The caller holds the home folder's lock, so a
    /// socket that is there is left over from a daemon that was killed.
    ///
    /// # Errors
    /// What the system says; `PermissionDenied` if the folder belongs to someone else or others may enter it.
    pub fn bind(&self) -> io::Result<Listening> {
        let path = self.socket();
        let dir = path.parent().unwrap_or(&self.home);
        if dir != self.home {
            match fs::DirBuilder::new().mode(0o700).create(dir) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => private_to(dir, &self.home)?,
            }
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        let listening = Listening { listener, path };
        fs::set_permissions(&listening.path, fs::Permissions::from_mode(0o600))?;
        Ok(listening)
    }
}

/// An open socket that nobody answers yet.
#[derive(Debug)]
pub struct Listening {
    listener: UnixListener,
    path: PathBuf,
}

impl Listening {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers requests until `ended` resolves, then lets open ones finish for five seconds, and removes the socket.
    ///
    /// # Errors
    /// What the system says about accepting connections.
    pub async fn serve(self, core: CoreHandle, ended: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let serving = axum::serve(self.listener, routes::router(core)).with_graceful_shutdown(async move {
            ended.await;
            let _ = tell.send(());
        });
        let overdue = async {
            let _ = told.await;
            tokio::time::sleep(GRACE).await;
        };
        let result = tokio::select! {
            result = serving.into_future() => result,
            () = overdue => Ok(()),
        };
        let _ = fs::remove_file(&self.path);
        result
    }
}

const SOCKET: &str = "api.sock";

fn fits(path: &Path) -> bool {
    path.as_os_str().len() <= SOCKET_PATH_MAX
}

/// In a folder where everyone may write, someone else could have made ours first, or put a link there.
fn private_to(dir: &Path, home: &Path) -> io::Result<()> {
    let (found, ours) = (fs::symlink_metadata(dir)?, fs::metadata(home)?);
    if found.is_dir() && found.uid() == ours.uid() && found.mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "the folder for the socket belongs to someone else"))
    }
}
