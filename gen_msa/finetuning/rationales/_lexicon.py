"""English words with a polarity of their own.

A short list of common words, to tell which words of a post carry the opinion; words that are not in
it may carry one too.

    word_polarity("awful")        # -1
    word_polarity("#blessed")     # 1
"""

from functools import lru_cache

from gen_msa.cues.parsing.lexicon import word_set

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
