"""Readers made of cues, a prompt and a backend; fine-tuning asks with the same parts.

seeing (pictures, aspects) -> asking (cues, prompt) -> backend -> answers -> Opinion

Prompted(backend, settings, media_root).read(posts)
"""

from gen_msa.readers.prompted.asking import Asker, Question
from gen_msa.readers.prompted.reader import Prompted
from gen_msa.readers.prompted.seeing import PostRefused, Seen, see
from gen_msa.readers.prompted.trained import as_trained

__all__ = ["Asker", "PostRefused", "Prompted", "Question", "Seen", "as_trained", "see"]
