//! The server-info file while we serve: written whole, never through a link, taken away at the end.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use codex_proxy_client::ServerInfo;

use crate::placed_file::PlacedFile;

/// A published server-info file. Dropped, it removes the file, unless another has taken its place.
#[derive(Debug)]
pub(crate) struct ServerInfoFile(PlacedFile);

impl ServerInfoFile {
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Writes `info` to `path`, whose folders are made where they are missing.
    ///
    /// A reader sees the old file or the new one, never a part. Whatever stands at `path` is
    /// replaced, not followed: a link that somebody planted there leads nowhere.
    pub(crate) fn publish(path: PathBuf, info: &ServerInfo) -> io::Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder)?;
        // Created anew with O_EXCL under a random name, so nobody can have it open or linked.
        // Readable by all, within the umask: it says where the proxy is, and nothing secret.
        let mut file = tempfile::Builder::new()
            .prefix(".server-info.")
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(folder)?;
        file.write_all(info.to_line().as_bytes())?;
        let file = file.persist(&path).map_err(|error| error.error)?;
        let facts = file.metadata()?;
        Ok(Self(PlacedFile::new(path, &facts)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn info() -> ServerInfo {
        ServerInfo {
            port: 1,
            pid: 2,
            base_url: String::new(),
            control_socket: None,
            uid: 3,
            listener_uid: 3,
            instance: String::new(),
            started_at: 4,
            version: String::new(),
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn it_is_there_whole_with_its_folders_and_goes_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/info.json");
        let file = ServerInfoFile::publish(path.clone(), &info()).unwrap();
        assert_eq!(ServerInfo::read(&path).unwrap(), info());
        assert_eq!(names(path.parent().unwrap()), ["info.json"]);
        drop(file);
        assert!(names(path.parent().unwrap()).is_empty());
    }

    #[test]
    fn a_planted_link_is_replaced_and_what_it_leads_to_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("info.json");
        let victim = folder.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &path).unwrap();
        let file = ServerInfoFile::publish(path.clone(), &info()).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        drop(file);
        assert_eq!(names(folder.path()), ["victim"]);
    }

    #[test]
    fn a_successors_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("info.json");
        let first = ServerInfoFile::publish(path.clone(), &info()).unwrap();
        let second = ServerInfoFile::publish(path.clone(), &info()).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    /// Who has the old file open goes on reading the old file: it is never written in place.
    #[test]
    fn a_reader_sees_one_file_or_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("info.json");
        fs::write(&path, "old").unwrap();
        let mut reader = fs::File::open(&path).unwrap();
        let _file = ServerInfoFile::publish(path.clone(), &info()).unwrap();
        let mut read = String::new();
        io::Read::read_to_string(&mut reader, &mut read).unwrap();
        assert_eq!(read, "old");
        assert_eq!(ServerInfo::read(&path).unwrap(), info());
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        assert!(ServerInfoFile::publish(path, &info()).is_err());
        assert_eq!(names(folder.path()), ["taken"]);
    }
}
