//! What the layers come to for one way to call Codex, how that is set right, and how it is undone.

use std::path::PathBuf;

use codex_config::{
    Change, CodexHome, ConfigError, Deed, EditError, Effective, Layer, Layers, PROVIDER, base_url,
    effective,
};

use crate::Host;

/// Any port will do to learn whether an address could be put in.
const ANY_PORT: u16 = 4_000;

/// Where Codex would go, called in one way.
pub(super) struct Pointing {
    pub(super) effective: Effective,
    /// What `codex proxy point` changes for it.
    pub(super) file: PathBuf,
    /// Why it would leave that as it is.
    pub(super) refused: Option<EditError>,
}

impl Pointing {
    /// With `-p openai-proxy`, if there is such a file.
    pub(super) fn with_profile(host: &Host, home: &CodexHome) -> Option<Self> {
        let (file, system_folder) = (home.profile(PROVIDER), &*host.system_folder);
        let layers = Layers { home, system_folder, profile: Some(PROVIDER), overrides: &[] };
        file.exists().then(|| Self::of(effective(&layers), file))
    }

    /// What the layers come to, of which `point` would change this file. Nothing is written by a plan.
    pub(super) fn of(effective: Effective, file: PathBuf) -> Self {
        let deed = Deed::Point { base_url: base_url(ANY_PORT) };
        let refused = match Change::plan(&file, &deed) {
            Err(ConfigError::Edit { source, .. }) => Some(source),
            _ => None, // What can't be read is a problem of the layers.
        };
        Self { effective, file, refused }
    }

    /// How it is pointed for the first time.
    pub(super) fn begin(&self) -> String {
        self.by_point("point it at the proxy", "codex proxy point")
    }

    /// How it is set right where it leads elsewhere.
    pub(super) fn repair(&self) -> String {
        match self.deciding() {
            Layer::Profile(_) => self.by_point("point again", "codex proxy point --profile"),
            // The user's file is stronger than these two.
            Layer::User(_) | Layer::System(_) | Layer::BuiltIn => {
                self.by_point("point again", "codex proxy point")
            }
            other => format!("change {other}"),
        }
    }

    /// How to be pointed no more.
    pub(super) fn undo(&self) -> String {
        let file = self.file.display();
        match &self.effective.decided_by {
            // `unpoint` leaves alone what leads to somebody else's table.
            Layer::User(_) | Layer::Profile(_) if self.is_in_conflict() => {
                format!("undo it: take model_provider out of {file}")
            }
            Layer::User(_) => "undo it: codex proxy unpoint".to_owned(),
            Layer::Profile(_) => "undo it: codex proxy unpoint --profile".to_owned(),
            other => format!("change {other}"),
        }
    }

    /// Whether an administrator's layer has the address, which then no other changes.
    pub(super) fn is_fixed(&self) -> bool {
        matches!(self.effective.named_by(), Some(Layer::Managed(_) | Layer::Requirements(_)))
    }

    /// The layer in which the address can be set right.
    fn deciding(&self) -> &Layer {
        match (self.effective.named_by(), &self.effective.decided_by) {
            (Some(fixed), _) if self.is_fixed() => fixed,
            // They choose the provider, and leave its address to the user.
            (Some(users @ Layer::User(_)), Layer::Managed(_) | Layer::Requirements(_)) => users,
            (_, decided_by) => decided_by,
        }
    }

    fn is_in_conflict(&self) -> bool {
        matches!(self.refused, Some(EditError::Conflict { .. }))
    }

    /// With this command, unless it would refuse.
    fn by_point(&self, what: &str, command: &str) -> String {
        let Some(error) = &self.refused else { return format!("{what}: {command}") };
        let (file, hint) = (self.file.display(), error.hint());
        format!("mend {file}, so that `{command}` can change it: {error}; {hint}")
    }
}

#[cfg(test)]
mod tests;
