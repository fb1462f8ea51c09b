//! What the probe saw: its report, and the comparisons that rows make with it.
//!
//! Start at [`Seen::is`]; a failure names the place in the report, what is there and what was wanted.

use crate::row::{Verdict, check, fail};
use serde_json::Value;

/// The report of a probe, a hook or a host file as JSON.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(pub(crate) Value);

impl Seen {
    /// What a JSON pointer names; null where nothing is.
    pub(crate) fn at(&self, pointer: &str) -> Value {
        self.0.pointer(pointer).cloned().unwrap_or_default()
    }

    /// Puts the report of the container's program beside that of a hook, below `inside`.
    pub(crate) fn set_inside(&mut self, program: &Seen) {
        if let Some(map) = self.0.as_object_mut() {
            map.insert("inside".to_owned(), program.0.clone());
        }
    }

    /// A text, or the empty one.
    pub(crate) fn text(&self, pointer: &str) -> String {
        self.at(pointer).as_str().unwrap_or_default().to_owned()
    }

    /// Fails unless that value is there.
    pub(crate) fn is(&self, pointer: &str, wanted: impl Into<Value>) -> Verdict {
        let wanted = wanted.into();
        let found = self.at(pointer);
        check((found == wanted).then_some(()), || format!("{pointer} is {found}, not {wanted}"))
    }

    /// Fails if that value is there.
    pub(crate) fn is_not(&self, pointer: &str, unwanted: impl Into<Value>) -> Verdict {
        let unwanted = unwanted.into();
        check((self.at(pointer) != unwanted).then_some(()), || format!("{pointer} is {unwanted}"))
    }

    /// The answer to a question that was asked.
    pub(crate) fn answer(&self, question: &str) -> Seen {
        Seen(self.0.get("asked").and_then(|asked| asked.get(question)).cloned().unwrap_or_default())
    }

    /// Fails unless what was asked for worked.
    pub(crate) fn could(&self, question: &str) -> Verdict {
        let answer = self.answer(question);
        check((!answer.at("/ok").is_null()).then_some(()), || format!("{question} gave {}", answer.0))
    }

    /// Fails if what was asked for worked, or was not asked.
    pub(crate) fn could_not(&self, question: &str) -> Verdict {
        let answer = self.answer(question);
        check((answer.at("/errno").is_i64()).then_some(()), || format!("{question} gave {}", answer.0))
    }

    /// Fails unless what was asked for failed with that number.
    pub(crate) fn errno(&self, question: &str, errno: i32) -> Verdict {
        let answer = self.answer(question);
        check((answer.at("/errno") == errno).then_some(()), || {
            format!("{question} gave {}, not errno {errno}", answer.0)
        })
    }

    /// The last mount at a place.
    pub(crate) fn mount(&self, place: &str) -> Result<Seen, crate::row::Stop> {
        let mounts = self.at("/mounts");
        let list = mounts.as_array().map(Vec::as_slice).unwrap_or_default();
        match list.iter().rev().find(|mount| mount.get("at") == Some(&Value::from(place))) {
            Some(mount) => Ok(Seen(mount.clone())),
            None => fail(format!("nothing is mounted at {place}")),
        }
    }

    /// Fails unless the list there has the word.
    pub(crate) fn has(&self, pointer: &str, word: &str) -> Verdict {
        let list = self.at(pointer);
        check(contains(&list, word).then_some(()), || format!("{pointer} is {list}, without {word}"))
    }

    /// Fails if the list there has the word.
    pub(crate) fn has_not(&self, pointer: &str, word: &str) -> Verdict {
        let list = self.at(pointer);
        check((list.is_array() && !contains(&list, word)).then_some(()), || {
            format!("{pointer} is {list}, with {word}")
        })
    }

    /// Fails unless the text there contains the word.
    pub(crate) fn mentions(&self, pointer: &str, word: &str) -> Verdict {
        let text = self.text(pointer);
        check(text.contains(word).then_some(()), || format!("{pointer} is {text:?}, without {word:?}"))
    }
}

fn contains(list: &Value, word: &str) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(|entry| entry == word))
}
