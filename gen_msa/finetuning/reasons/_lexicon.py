"""English words that praise or blame by themselves. Knows nothing of grammar or of posts.

Our own short list of common words, for telling which words of a post carry the opinion; a word
that is not here may carry one all the same.

    valence("awful")        # -1
    valence("#blessed")     # 1
"""

from functools import lru_cache

from gen_msa.cues.parsing.words import word_set

_GOOD = word_set(
    """accurate adorable adore adored affordable amaze amazed amazing amazingly ample appealing
    appetizing appreciate appreciated approachable appropriate artful astonishing attentive
    attractive authentic award awesome beautiful beautifully beauty best better blessed bliss bonus
    bravo breathtaking bright brilliant calm celebrate celebrated celebrates celebrating
    celebration champ champion champions charm charming cheaper cheerful cheers classic classy
    clean comfortable comfy complimentary congrats congratulations consistent convenient cool
    correct courteous cozy cosy creative crisp crispy cute decent delectable delicate delicious
    deliciously delight delighted delightful delightfully dependable deserve deserved divine dope
    dream durable easily easy ecstatic efficient efficiently elegant enjoy enjoyable enjoyed
    enjoying epic excellent excellently exceptional exceptionally excited excitement exciting
    exquisite extraordinary fab fabulous fair fan fancy fantastic fantastically fast faster
    favorite favorites favourite fine finest flavorful flavourful flawless flawlessly fresh fresher
    freshest friendlier friendly fun funny generous genius gentle genuine gift glad glorious good
    goodness gorgeous gracious grateful great greatest greatly grin handsome handy happier happily
    happiness happy healthy hearty heavenly helpful hero heroes high-quality hilarious honest honor
    honored honoured hope hopeful hospitable hot humorous ideal immaculate impeccable impress
    impressed impressive incredible incredibly inexpensive innovative insane inspire inspired
    inspiring interesting intimate inventive inviting joy joyful juicy kind knowledgeable laugh
    laughing legend legendary light like liked likes love loved lovelier lovely lover loves loving
    loyal luck lucky lush luxurious magic magical magnificent marvelous marvellous masterpiece
    memorable miracle modern moist mouthwatering neat nice nicely nicer nicest outstanding
    paradise passionate peaceful perfect perfection perfectly personable phenomenal playful
    pleasant pleasantly pleased pleasing pleasure plentiful polite popular portable powerful praise
    precious premium pretty prettiest pride pristine prize professional prompt promptly proud
    quaint quality quick quickly quiet radiant reasonable reasonably recommend recommendable
    recommended recommends refreshing relaxed relaxing reliable remarkable responsive rich robust
    romantic satisfied satisfies satisfying savory scrumptious seamless sensational sharp shine
    shines shining sleek slick smart smile smiles smiling smooth smoothly solid special spectacular
    speedy spicy splendid spotless stellar strong stunning stylish sublime success successful
    succulent sunny super superb superior support supportive surpassed sweet sweetest sweetheart
    talent talented tasteful tastes-good tastiest tasty tender terrific thank thankful thanks
    thoughtful thrilled thrilling treasure treat treats triumph trust truly unbeatable unbelievable
    unforgettable unique upbeat valuable versatile vibrant victory warm welcome welcomed welcoming
    well well-made well-cooked win winner winning wins wisdom wise won wonder wonderful wonderfully
    worth worthwhile worthy wow yay yum yummy ❤ ♥ 😍 😘 😊 😀 😃 😄 😁 😂 😆 😋 😎 🥰 🤗 👍 👏 🙌 🎉 💕 💖
    💗 💘 💙 💚 💛 💜 💯 🏆 ✨ 🔥 🙏 😻 ☺ :) :-) :D ;) <3"""
)
_BAD = word_set(
    """abuse abused accident aggressive alarming angry annoyed annoying appalling arrest arrested
    arrogant ashamed atrocious attack attacks avoid awful awfully awkward bad badly banned barely
    bastard beware bitch bitter bland blame bloated boring bother bothered broke broken brutal bug
    buggy bugs bully burned burnt cancelled cancer careless catastrophe chaos chaotic cheap cheat
    cheated chewy cold complain complained complaint complaints condescending confused confusing
    congested corrupt costly cramped crap crappy crash crashed crashes crashing crazy creepy cried
    crime crisis critic criticism criticized crowded cruel cruelty cry crying damage damaged
    damages dangerous dark dead deadly death defeat defective demon denied deny depressed
    depressing destroyed destruction devastated devastating die died difficult dirty disappoint
    disappointed disappointing disappointment disaster disastrous disgrace disgraceful disgusted
    disgusting dishonest dislike disliked dismal disorganized disrespectful doomed doubt dreadful
    drunk dry dull dumb enemy error errors evil expensive expired fail failed failing fails failure
    fake fat fatal faulty fear fight filthy flimsy flop forgot forgotten fraud freezes freezing
    frustrated frustrating gloomy grave greasy greedy grief grieving grim gross guilty hard harsh
    hate hated hateful haters hates hating heartbreaking heartbroken heavy hell hideous horrible
    horribly horrid horrific horrifying hostile humiliated hurt hurts hypocrite idiot ignorant
    ignored ill impatient impolite impossible inattentive incompetent inconsistent inconvenient
    inedible inefficient inferior injured injuries injury insult insulting joke junk kill killed
    killer killing lack lacked lacking lackluster lacks laggy lame late lawsuit lazy limp limited
    loser losers loses losing loss lost loud lousy mad mediocre mess messy miserable misleading
    miss missed missing mistake mistakes murder murdered mushy nasty negative nervous nightmare
    noisy nonsense obnoxious odd offensive outdated outrage outrageous outrageously overcooked
    overcrowded overhyped overpriced overrated overheats pain painful pathetic petty poor poorly
    poverty pretentious problem problems protest pushy racist racism rape refuse refused refuses
    regret ridiculous ridiculously rip rip-off riot rotten rough rubbery rubbish rude rudely ruin
    ruined rushed sad sadly sadness salty scam scandal scared scary scream screwed severe shame
    shameful shit shitty shock shocked shocking shoddy sick skimpy slow slower slowly sloppy
    sluggish smell smelly snobby soggy sore sorry sour stale stolen stress stressed stressful
    struggle stuck stupid subpar suck sucked sucks suffer suffered suffering suspicious tasteless
    tears terrible terribly terrified terror terrorist threat threatened thug tired toxic tragedy
    tragic trash traumatic trouble troubled ugly unacceptable unappetizing unattentive
    uncomfortable undercooked undone uneven unfair unfortunate unfortunately unfriendly unhappy
    unhelpful uninspired unpleasant unprofessional unreliable unresponsive upset upsetting useless
    victim victims vile violence violent vomit war warned warning waste wasted watered-down weak
    weird worried worry worse worst worthless wound wounded wrong yelled yuck 😢 😭 😞 😔 😠 😡 😤 😩 😫 😒
    😕 🙁 ☹ 😣 😖 😪 😰 😨 😱 😷 🤢 🤮 👎 💔 🖕 💩 :( :-( :'( :/"""
)


_NOT_OF_STEM = word_set("hardly lately fairly goods")
_ENDINGS = ("ly", "s", "ed", "d", "ing", "ness")


@lru_cache(maxsize=8192)
def valence(word: str) -> int:
    """1 for praise, -1 for blame, 0 for neither or unknown.

    Letter case and `#` do not matter, nor do drawn-out endings ("loveee") and common ones
    ("brutally" counts as "brutal").
    """
    plain = word.lower().lstrip("#").rstrip("\ufe0f")
    tries = [plain]
    if plain.isalpha() and len(plain) > 3 and plain not in _NOT_OF_STEM:
        tries.append(plain.rstrip(plain[-1]) + plain[-1])
        tries += [s for e in _ENDINGS if plain.endswith(e) and len(s := plain.removesuffix(e)) > 3]
    known = next((t for t in tries if t in _GOOD or t in _BAD), "")
    return (known in _GOOD) - (known in _BAD)
