"""Finds the words of a sentence that carry the opinion about an aspect, as one verbatim span.

Works on a dependency tree and on the subtree that `cues.parsing` keeps for the aspect. A span is a
word with a polarity, or else an adjective next to the aspect, with its negators and modifiers.
There is no span if the nearest words have the opposite polarity. English only.

    OpinionSpanFinder(tree, aspect_tokens).best_span(subtree, sign=-1)   # OpinionSpan(28, 34, …)
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from gen_msa.cues.parsing import AspectSubtree, DependencyTree
from gen_msa.cues.parsing.lexicon import MODALS, NEGATORS, is_junk, word_set

# English words with a polarity of their own.

_GOOD = word_set(
    """accommodating accurate adorable adore adored adoring affordable amaze amazed amazing
    amazingly ample appealing appetizing appreciate appreciated approachable appropriate
    artful astonishing attentive attractive authentic award awesome awsome bargain beautiful
    beautifully beauty best better blessed bliss bonus bravo breathtaking bright brilliant
    calm caring celebrate celebrated celebrates celebrating celebration champ champion
    champions charm charming cheerful cheers cherishing classic classy clean colorful
    comfortable comforting comfy compassionate complimentary congrats congratulations
    consistent convenient cool correct cosy courteous cozy creamy creative crisp crispy cute
    decent delectable delicate delicious deliciously delight delighted delightful
    delightfully delish dependable deserve deserved devoted divine dope dream durable easier
    easily easy ebullient ecstatic efficient efficiently elated elegant energetic enjoy
    enjoyable enjoyed enjoying entertaining enthusiastic epic euphoric exceeded excellent
    excellently exceptional exceptionally excited excitement exciting exquisite
    extraordinary fab fabulous fair famous fancy fantastic fantastically fascinating fast
    faster favorite favorites favourite fine finest flaky flavorful flavourful flawless
    flawlessly forgiving fresh fresher freshest friendlier friendly fun funky funny generous
    genius gentle genuine gift glad gleeful glorious good goodness gorgeous gracious
    grateful great greatest greatly grin handsome handy happier happily happiness happy
    healthy hearty heavenly helpful hero heroes high-quality hilarious honest honor honored
    honoured hope hopeful hospitable humorous ideal immaculate impeccable impress impressed
    impressive incredible incredibly inexpensive innovative inspire inspired inspiring
    interesting intimate intuitive inventive inviting joy joyful juicy kind knowledgable
    knowledgeable laugh laughing legend legendary lightweight like liked likes lively love
    loved lovelier lovely lover loves loving loyal luck lucky lush luxurious magic magical
    magnificent marvellous marvelous masterpiece memorable merry miracle modern moist
    mouthwatering neat nice nicely nicer nicest okay outstanding overjoyed paradise passion
    passionate patient peaceful perfect perfection perfectly personable phenomenal playful
    pleasant pleasantly pleased pleasing pleasure plentiful polite powerful praise precious
    premium prettiest pretty pride pristine prize professional prompt promptly proud quaint
    quick quicker quickly quiet radiant reasonable reasonably recommend recommendable
    recommended recommends refreshing relaxed relaxing reliable remarkable respect
    responsive rich robust romantic satisfied satisfies satisfying savory scrumptious
    seamless sensational sexy sharp shine shines shining sleek slick smart smile smiles
    smiling smooth smoothly solid spectacular speedy spicy splendid spotless stellar strong
    stunning stylish sublime success successful succulent sunny super superb superior
    support supportive surpassed sweet sweetest sweetheart talent talented tasteful
    tastes-good tastiest tasty tender terrific thank thankful thanks thoughtful thrilled
    thrilling treasure treat treats trendy triumph truly trust unbeatable unbelievable
    unforgettable unique upbeat useful valuable versatile vibrant victory warm welcome
    welcomed welcoming well well-cooked well-made win winner winning wins wisdom wise won
    wonder wonderful wonderfully worth worthwhile worthy wow yay yum yummy ❤ ♥ 😍 😘 😊 😀 😃 😄 😁
    😂 😆 😋 😎 🥰 🤗 👍 👏 🙌 🎉 💕 💖 💗 💘 💙 💚 💛 💜 💯 🏆 ✨ 🔥 🙏 😻 ☺ :) :-) :D ;) <3"""
)
_BAD = word_set(
    """abandoned abuse abused accident aggressive alarming anger angry annoyed annoying anxiety
    apathetic appalling arrest arrested arrogant ashamed atrocious attack attacks avoid
    awful awfully awkward bad badly banned bastard beware bitch bitter blame bland bleak
    bloated bloody boring bother bothered boycott broke broken brutal bug buggy bugs bully
    bummer burned burnt cancelled cancer careless catastrophe chaos chaotic cheat cheated
    chewy cold complain complained complaint complaints condescending confused confusing
    congested corrupt costly crammed cramped crap crappy crash crashed crashes crashing
    creepy cried crime crisis critic criticism criticized crowded cruel cruelty cry crying
    damage damaged damages dangerous dark dead deadly death deceptive defeat defective demon
    denied deny depressed depressing depression desolate desperate destroyed destruction
    devastated devastating died difficult dirty disappoint disappointed disappointing
    disappointment disaster disastrous discarded disgrace disgraceful disgusted disgusting
    dishonest dislike disliked dismal disorganized disrespectful dissapointing doomed doubt
    downside drawback dreadful drunk dull dumb dying enemy enraged error errors evil
    expensive expired fail failed failing fails failure fake fat fatal fatty faulty fear
    fight filthy fired flimsy flop forced forgot forgotten fraud freezes freezing frustrated
    frustrating furious gloomy grave greasy greedy grief grieving grim gross guilty hard
    harsh hate hated hateful haters hates hating heartbreaking heartbroken helpless hideous
    hopeless horrendous horrible horribly horrid horrific horrified horrifying horror
    hostile humiliated hurt hurts hypocrite idiot ignorant ignored ill impatient impolite
    impossible inattentive incompetent inconsistent inconvenient inedible inefficient
    inferior injured injuries injury insult insulting joke junk kill killed killing lack
    lacked lacking lackluster lacks laggy lame lawsuit lazy limited limp loneliness lonely
    loser losers loses losing loss lost loud louder lousy mad mediocre mess messy miniscule
    miserable misleading missed missing mistake mistakes murder murdered mushy nasty
    negative neglected nervous nightmare noisy nonsense obnoxious odd offended offensive
    oily outdated outrage outrageous outrageously overcooked overcrowded overdone overheats
    overhyped overpriced overrated pain painful pathetic petty poor poorly poverty
    pretentious pricey problem problems protest pushy racism racist rape refuse refused
    refuses regret rejected ridiculous ridiculously riot rip rip-off rotten rough rubbery
    rubbish rude rudely ruin ruined rushed sad sadly sadness salty scam scandal scared scary
    scream screwed severe shame shameful shit shitty shock shocked shocking shoddy skimpy
    sloppy slow slower slowly sluggish smell smelly snobby snooty soggy sore sour spilled
    spotty stabbed stale stolen stress stressed stressful struggle stuck stupid subpar suck
    sucked sucks suffer suffered suffering suicide suspicious tasteless tears terrible
    terribly terrified terrifying terror terrorist threat threatened thug tight tired
    torture tortured tough toxic tragedy tragic trash traumatic trouble troubled ugly
    unacceptable unappetizing unattentive unbearable uncomfortable undercooked undone uneven
    unfair unfortunate unfortunately unfriendly unhappy unhelpful uninspired unpleasant
    unprofessional unreliable unresponsive unwelcoming upset upsetting useless victim
    victims vile violence violent vomit warned warning waste wasted watered-down watery weak
    weird worried worry worse worst worthless wound wounded wrong yelled yelling yuck 😢 😭 😞
    😔 😠 😡 😤 😩 😫 😒 😕 🙁 ☹ 😣 😖 😪 😰 😨 😱 😷 🤢 🤮 👎 💔 🖕 💩 :( :-( :'( :/"""
)


_NOT_OF_STEM = word_set("hardly lately fairly goods")
_ENDINGS = ("ly", "s", "ed", "d", "ing", "ness")


@lru_cache(maxsize=8192)
def word_polarity(word: str) -> int:
    """Return 1 for a positive word, -1 for a negative one, 0 for neither or unknown.

    Case and `#` are ignored, and so are lengthened endings ("loveee") and common suffixes
    ("brutally" counts as "brutal").
    """
    normalized = word.lower().lstrip("#").rstrip("\ufe0f")
    candidates = [normalized]
    if normalized.isalpha() and len(normalized) > 3 and normalized not in _NOT_OF_STEM:
        candidates.append(normalized.rstrip(normalized[-1]) + normalized[-1])
        candidates += [
            s
            for e in _ENDINGS
            if normalized.endswith(e) and len(s := normalized.removesuffix(e)) > 3
        ]
    match = next((t for t in candidates if t in _GOOD or t in _BAD), "")
    return (match in _GOOD) - (match in _BAD)


_VERBS = word_set("VB VBD VBG VBN VBP VBZ VERB")
_NAMES = word_set("NNP NNPS PROPN")
_ACROSS = word_set("ccomp xcomp")
_NO_NEGATION = word_set("nothing none neither nor")
_ENGLISH = word_set(
    "the a an to of and in is are was for on you i my this that with at it by be from we your our"
)


class TokenPolarity:
    """Polarity of the tokens of one text.

    Args:
        tree: The dependency tree.
        aspect_tokens: Tokens of aspects, which have no polarity.
    """

    def __init__(self, tree: DependencyTree, aspect_tokens: frozenset[int]) -> None:
        self._tree = tree
        self._aspect_tokens = aspect_tokens
        letters = [c for c in tree.text if c.isalpha()]
        self._all_caps = sum(map(str.isupper, letters)) > len(letters) / 2

    def all_tokens(self) -> dict[int, int]:
        """Return the polarity of every candidate token."""
        return {i: self.polarity(i) for i in range(len(self._tree.heads)) if self.is_candidate(i)}

    def is_candidate(self, i: int) -> bool:
        """Whether a token may have a polarity: not part of an aspect, no junk, no name."""
        tree = self._tree
        if i in self._aspect_tokens or is_junk(tree.lower[i]):
            return False
        name = tree.tags[i] in _NAMES and tree.token_text(i)[:1].isupper() and not self._all_caps
        return not name or (i > 0 and tree.lower[i - 1] == "#")

    def polarity(self, i: int) -> int:
        """Return 1 for a positive token, -1 for a negative one, 0 for neither, after negation."""
        tree = self._tree
        word, tag = tree.lower[i], tree.tags[i]
        if word in ("like", "likes", "mean", "means") and (tag not in _VERBS or word[0] == "m"):
            return 0
        if word in ("well", "pretty", "right", "just") and tree.rels[i] != "ROOT" and tag != "JJ":
            # "pretty bad", "as well as": no praise; "works well" is.
            verb = tree.heads[i] >= 0 and tree.tags[tree.heads[i]] in _VERBS
            if not (word == "well" and verb and tree.lower[i - 1 : i] != ["as"]):
                return 0
        if word in ("kind", "sort") and tree.lower[i + 1 : i + 2] == ["of"]:
            return 0
        return -word_polarity(word) if self.negators(i) else word_polarity(word)

    def negators(self, i: int) -> list[int]:
        """Return the tokens that negate token `i`, in order."""
        tree = self._tree
        negators = [c for c in tree.children[i] if self._negates(c)]
        if i and self._negates(i - 1):
            negators.append(i - 1)
        head = tree.heads[i]
        if head >= 0 and tree.rels[i] in _ACROSS:
            negators += [c for c in tree.children[head] if self._negates(c)]
        return sorted(set(negators) - {i})

    def is_english(self) -> bool:
        """Whether the text may be English: it has common English words, or only ASCII letters."""
        foreign = any(c.isalpha() and not c.isascii() for c in self._tree.text)
        return not foreign or not _ENGLISH.isdisjoint(self._tree.lower)

    def word_start(self, first: int) -> int:
        """Return the token where the written word begins: `do` of "don't", `#` of "#happy"."""
        tree = self._tree
        if self._is_split_negation(first):
            first -= 2
        while first and tree.starts[first] == tree.ends[first - 1]:
            previous = tree.token_text(first - 1)
            if not (previous[-1].isalnum() or previous in ("#", "'", "’")):
                break
            first -= 1
        return first

    def _negates(self, i: int) -> bool:
        word = self._tree.lower[i]
        # "not only good" is praise; "nothing" is a noun here, not a negation.
        if self._tree.lower[i + 1 : i + 2] == ["only"] or word in _NO_NEGATION:
            return False
        return word in NEGATORS or self._tree.rels[i] == "neg" or self._is_split_negation(i)

    def _is_split_negation(self, i: int) -> bool:
        """Whether it is the `t` of a "don ' t" that was tokenized."""
        lower = self._tree.lower
        return (
            i >= 2 and lower[i] == "t" and lower[i - 1] in ("'", "’") and lower[i - 2][-1:] == "n"
        )


MAX_SPAN_WORDS = 6
"""Of a quoted span."""

ADJECTIVES = word_set("JJ JJR JJS ADJ")
VERBS = word_set("VB VBD VBG VBN VBP VBZ VERB")
_SMALL_TAGS = word_set("DT IN CC PRP PRP$ WDT WP WP$ WRB EX TO MD CD DET ADP CCONJ SCONJ PRON NUM")
_LEFT = word_set("advmod amod compound neg aux auxpass aux:pass nummod cop")
_RIGHT = word_set("dobj obj advmod prt compound:prt acomp npadvmod amod compound case")
_BE = word_set("be is are was were been being am 's 're 'm ’s ’re ’m")
_LIGHT = _BE | word_set(
    "have has had having do does did done doing get gets got getting go goes went going say says"
    " said make makes made let lets"
)
_WEAK_ADJECTIVES = word_set(
    "other same such own first second third last next few many several more most whole only new"
    " old main different various certain full live former late able due exempt available open"
    " official young early big small less more fit free high low daily"
    " american italian french chinese japanese indian mexican"
)


class OpinionSpan(NamedTuple):
    """A verbatim span of the text."""

    start: int
    end: int
    is_adjective: bool
    """Whether it is an adjective about the aspect itself, not an action."""


class OpinionSpanFinder:
    """Finds spans in one tree.

    Args:
        tree: The dependency tree.
        aspect_tokens: Tokens of all aspects of the post.
    """

    def __init__(self, tree: DependencyTree, aspect_tokens: Iterable[int]) -> None:
        self._tree = tree
        self._aspect_tokens = frozenset(aspect_tokens)
        self._polarity = TokenPolarity(tree, self._aspect_tokens)

    def best_span(self, pruned: AspectSubtree, sign: int) -> OpinionSpan | None:
        """Return the span that best shows a polarity, or None.

        Args:
            pruned: The subtree of the aspect.
            sign: -1, 0 or 1.
        """
        polarities = {
            i: self._polarity.polarity(i)
            for i in pruned.distance_keys
            if self._polarity.is_candidate(i)
        }
        order = sorted(polarities, key=lambda i: (pruned.distance_keys[i] // 2, self._rank(i), i))
        opposed = any(polarities.values())
        if sign == 0:
            facts = [] if opposed else [i for i in order if self._is_fact(i)]
            return next((p for i in facts if (p := self._fact_span(i, pruned.span))), None)
        candidates = [i for i in order if polarities[i] == sign]
        if not candidates and not opposed:
            candidates = [
                i
                for i in order
                if pruned.distance_keys[i] // 2 <= 1 and self._may_carry_opinion(i, sign)
            ]
        return next((p for i in candidates if (p := self._span_around(i))), None)

    def polar_spans(self, sign: int) -> list[OpinionSpan]:
        """Return every span of the text with a polarity, adjectives first.

        Empty unless most words with a polarity have this one.

        Args:
            sign: -1 or 1.
        """
        polarities = self._polarity.all_tokens()
        agreeing = [i for i, polarity in polarities.items() if polarity == sign]
        if len(agreeing) <= sum(polarity == -sign for polarity in polarities.values()):
            return []
        spans: list[OpinionSpan] = []
        for i in sorted(agreeing, key=lambda i: (self._rank(i), i)):
            p = self._span_around(i)
            if p and all(p.end <= other.start or other.end <= p.start for other in spans):
                spans.append(p)
        return spans

    def is_neutral(self) -> bool:
        """Whether no word has a polarity, as far as English words can tell."""
        return self._polarity.is_english() and not any(self._polarity.all_tokens().values())

    def _rank(self, i: int) -> int:
        tag = self._tree.tags[i]
        return 0 if tag in ADJECTIVES else 1 if tag in VERBS else 2

    def _may_carry_opinion(self, i: int, sign: int) -> bool:
        """Whether a word outside the lexicon may carry the opinion: adjectives, negated verbs."""
        tag, word = self._tree.tags[i], self._tree.lower[i]
        if tag in ADJECTIVES:
            return word not in _WEAK_ADJECTIVES and word.isalpha()
        negated = sign < 0 and tag in VERBS and word not in _LIGHT
        return negated and bool(self._polarity.negators(i))

    def _is_fact(self, i: int) -> bool:
        """Whether a word may state a fact: a content verb without negation."""
        tag, word = self._tree.tags[i], self._tree.lower[i]
        is_content_verb = tag in VERBS and word not in _LIGHT and word.isalpha()
        return is_content_verb and not self._polarity.negators(i)

    def _fact_span(self, i: int, span: tuple[int, int]) -> OpinionSpan | None:
        """Return the span from a verb to the aspect it governs, else the words after the aspect.

        A verb alone states no fact.
        """
        first, last = span
        if i < first < last and self._governs(i, span) and self._is_quotable(i, last - 1, span):
            return self._make_span(i, last - 1, i)
        fact = self._span_around(i)
        if fact is None or fact.start < self._tree.ends[max(last - 1, 0)]:
            return None
        return fact if " " in self._tree.text[fact.start : fact.end] else None

    def _governs(self, i: int, span: tuple[int, int]) -> bool:
        """Whether `i` is an ancestor of the span."""
        outer_heads = {self._tree.heads[t] for t in range(*span)} - set(range(*span))
        head = min(outer_heads, default=-1)
        while head >= 0 and head != i:
            head = self._tree.heads[head]
        return head == i

    def _span_around(self, i: int) -> OpinionSpan | None:
        tree, negators = self._tree, self._polarity.negators(i)
        core_start, core_end = min([i, *negators]), max([i, *negators])
        if not self._is_quotable(core_start, core_end):
            return None
        first, last = core_start, core_end
        while first and self._can_extend(first - 1, first, last, _LEFT):
            first -= 1
        while last + 1 < len(tree.heads) and self._can_extend(last + 1, first, last, _RIGHT):
            last += 1
        last = self._with_conjunct(i, first, last)
        while last > core_end and tree.tags[last] in _SMALL_TAGS:
            last -= 1
        while first < core_start and self._is_auxiliary(first):
            first += 1
        first = self._polarity.word_start(first)
        return self._make_span(first, last, i) if self._is_quotable(first, last) else None

    def _make_span(self, first: int, last: int, i: int) -> OpinionSpan:
        start, end = self._tree.starts[first], self._tree.ends[last]
        return OpinionSpan(start, end, is_adjective=self._rank(i) == 0)

    def _is_auxiliary(self, i: int) -> bool:
        word, rel = self._tree.lower[i], self._tree.rels[i]
        return rel.startswith(("aux", "cop")) or word in _BE or word in MODALS

    def _is_quotable(self, first: int, last: int, aspect_span: tuple[int, int] = (0, 0)) -> bool:
        """Whether the tokens can be quoted: few, single spaces, no quotes, no other aspect."""
        tree = self._tree
        if any(
            t in self._aspect_tokens and not aspect_span[0] <= t < aspect_span[1]
            for t in range(first, last + 1)
        ):
            return False
        words = tree.text[tree.starts[first] : tree.ends[last]].split(" ")
        plain = all(w and not any(c.isspace() or c == '"' for c in w) for w in words)
        return plain and len(words) <= MAX_SPAN_WORDS

    def _can_extend(self, i: int, first: int, last: int, rels: frozenset[str]) -> bool:
        tree = self._tree
        adjacent = first <= tree.heads[i] <= last and tree.rels[i] in rels
        return (
            adjacent
            and not is_junk(tree.lower[i])
            and self._is_quotable(min(i, first), max(i, last))
        )

    def _with_conjunct(self, i: int, first: int, last: int) -> int:
        """Extend to the end of "and tasty" after "fresh", unless it has the opposite polarity."""
        tree = self._tree
        for c in tree.children[i]:
            adjacent = tree.rels[c] == "conj" and c == last + 2
            if adjacent and tree.lower[last + 1] in ("and", "&") and tree.tags[c] == tree.tags[i]:
                opposed = self._polarity.polarity(c) == -self._polarity.polarity(i)
                if self._is_quotable(first, c) and (not opposed or not self._polarity.polarity(i)):
                    return c
        return last
