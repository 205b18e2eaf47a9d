"""The words of the stories, and the facts that each of them states.

A *slot* such as ``<he>`` maps every surface form to the facts that it states:
``{"he": {"hero.gender": "male"}, "she": {"hero.gender": "female"}}``. Rendering a slot picks a form
that agrees with the facts known so far; reading one yields the facts.
"""

from collections.abc import Iterable, Mapping

Facts = Mapping[str, str]
Slot = Mapping[str, Facts]


def _list(words: str) -> tuple[str, ...]:
    return tuple(words.split())


NAMES = {
    "female": _list(
        "Nell Mina Tilda Rosa Ivy Clara Luna Poppy Freya Olive Ruby Maya Zara Elsie Greta Nora "
        "Thea Willa Ada Isla Mabel Suki Tess Vera"
    ),
    "male": _list(
        "Tom Ben Oscar Felix Hugo Jasper Milo Otto Percy Rufus Simon Toby Barnaby Emil Finn Gus "
        "Henry Kip Leo Max Omar Sam Theo Ezra"
    ),
}

KINDS = {
    "": _list(
        "fox rabbit mouse hedgehog lamb piglet puppy kitten fawn pony donkey badger panda koala "
        "elf gnome robot troll dragon baker painter shepherd sailor piper clown"
    ),
    "female": ["girl", "princess"],
    "male": ["boy", "prince"],
}

TRAITS = _list(
    "brave kind curious clever cheerful gentle merry shy quiet patient honest busy careful dreamy "
    "hopeful lively playful polite stubborn thoughtful friendly proud eager sensible"
)

PLACE_ADJECTIVES = _list(
    "quiet green sleepy sunny hidden peaceful windy lonely misty golden distant pretty wild "
    "faraway old charming"
)
PLACE_NOUNS = {
    "in": _list("valley forest village meadow town garden woodland kingdom orchard country"),
    "on": _list("island hill farm mountain hillside peninsula"),
    "by": _list("sea harbor marsh crossroads"),
}

COLORS = _list(
    "red blue yellow green silver golden white purple pink orange brown shiny tiny pretty striped "
    "spotted painted old polished bright"
)
THINGS = _list(
    "kite lantern drum bell ball button whistle ribbon scarf hat mitten locket ring spoon cup "
    "teapot key compass flute horn doll top marble shell feather pearl crown basket umbrella clock "
    "mirror comb brush bucket kettle boot bracelet book map letter purse box cap"
)

WEATHERS = _list("sunny windy rainy snowy foggy frosty cloudy warm chilly breezy misty stormy")
DAYPARTS = _list("morning afternoon evening day")

KIN = _list("grandmother mother sister aunt teacher grandfather father brother uncle cousin")

TREATS = _list(
    "bread cheese plums cherries pancakes honey soup apples pears pie muffins cookies berries "
    "nuts cocoa lemonade tea cake porridge biscuits jam grapes"
)

# What is in the way of the thing: a place where it lies, what the place is like, who can help.
OBSTACLES = (
    "high",
    "water",
    "dark",
    "buried",
    "thorns",
    "heavy",
)
SITE_ADJECTIVES = {
    "high": _list("tall crooked leaning ancient towering swaying steep"),
    "water": _list("deep cold muddy icy still murky silent"),
    "dark": _list("dark black gloomy shadowy dim echoing damp"),
    "buried": _list("soft hard frozen sandy stony dusty crumbling"),
    "thorns": _list("prickly tangled spiky thorny sharp overgrown scratchy"),
    "heavy": _list("heavy huge enormous mossy massive fallen mighty"),
}
SITE_NOUNS = {
    "high": _list("oak pine elm poplar tower windmill chimney cliff lighthouse steeple"),
    "water": _list("pond well lake river millpond brook lagoon fountain canal pool"),
    "dark": _list("cave cellar tunnel mine dungeon cavern grotto vault attic burrow"),
    "buried": _list("mound dune snowbank bank heap ridge slope field bog ditch"),
    "thorns": _list("bramble thicket hedge briar hawthorn gorse holly rosebush blackthorn bush"),
    "heavy": _list("boulder log millstone trunk anvil slab wagon barrel stone statue"),
}
SITE_PREPOSITIONS = {
    "high": "at the top of",
    "water": "at the bottom of",
    "dark": "deep inside",
    "buried": "far under",
    "thorns": "in the middle of",
    "heavy": "trapped beneath",
}
HELPERS = {
    "high": _list("owl crow sparrow eagle magpie gull pigeon swallow woodpecker falcon"),
    "water": _list("otter duck frog swan beaver turtle pelican seal goose newt"),
    "dark": _list("firefly glowworm lamplighter miner wizard watchman fairy witch"),
    "buried": _list("mole hare gopher terrier marmot armadillo gardener vole hamster wombat"),
    "thorns": _list("shrew wren lizard beetle ladybug weasel dormouse chipmunk cricket snail"),
    "heavy": _list("bear ox horse elephant bull moose blacksmith giant woodcutter buffalo"),
}
PLOTS = ("lost", "gift", "wish")

_PRONOUNS = {
    "he": {"female": "she", "male": "he"},
    "him": {"female": "her", "male": "him"},
    "his": {"female": "her", "male": "his"},
}


def with_article(word: str) -> str:
    """The word with "a" or "an" before it, right for every word of this lexicon."""
    return f"{'an' if word[0] in 'aeiou' or word == 'honest' else 'a'} {word}"


def _words(fact: str, words: Iterable[str], **more: str) -> dict[str, Facts]:
    return {word: {fact: word, **more} for word in words}


def _by_group(fact: str, groups: Mapping[str, Iterable[str]], group: str) -> dict[str, Facts]:
    """Slot of words that also state the group they belong to (the empty group states nothing)."""
    return {
        word: {fact: word, **({group: key} if key else {})}
        for key, words in groups.items()
        for word in words
    }


def _articled(slot: Slot) -> dict[str, Facts]:
    return {with_article(word): facts for word, facts in slot.items()}


def _build_slots() -> dict[str, Slot]:
    slots: dict[str, Slot] = {
        "H": _by_group("hero.name", NAMES, "hero.gender"),
        "F": _by_group("helper.name", NAMES, "helper.gender"),
        "kind": _by_group("hero.kind", KINDS, "hero.gender"),
        "fkind": _by_group("helper.kind", HELPERS, "obstacle"),
        "trait": _words("hero.trait", TRAITS),
        "padj": _words("place.adjective", PLACE_ADJECTIVES),
        "pnoun": _by_group("place.noun", PLACE_NOUNS, "place.preposition"),
        "in": _words("place.preposition", PLACE_NOUNS),
        "adj": _words("thing.adjective", COLORS),
        "noun": _words("thing.noun", THINGS),
        "weather": _words("weather", WEATHERS),
        "daypart": _words("daypart", DAYPARTS),
        "kin": _words("kin", KIN),
        "treat": _words("treat", TREATS),
        "treat2": _words("second treat", TREATS),
        "sadj": _by_group("site.adjective", SITE_ADJECTIVES, "obstacle"),
        "snoun": _by_group("site.noun", SITE_NOUNS, "obstacle"),
        "sprep": {phrase: {"obstacle": key} for key, phrase in SITE_PREPOSITIONS.items()},
    }
    for name in ("kind", "fkind", "trait", "padj", "adj", "weather"):
        slots[f"a_{name}"] = _articled(slots[name])
    for prefix, who in (("", "hero"), ("f", "helper")):
        for pronoun, forms in _PRONOUNS.items():
            slots[prefix + pronoun] = {
                form: {f"{who}.gender": gender} for gender, form in forms.items()
            }
    for name, slot in list(slots.items()):
        if name not in ("H", "F"):
            slots[name[0].upper() + name[1:]] = {
                surface[0].upper() + surface[1:]: facts for surface, facts in slot.items()
            }
    return slots


SLOTS = _build_slots()

# Slots that stand for several others in a row.
MACROS = {
    "obj": "<adj> <noun>",
    "a_obj": "<a_adj> <noun>",
    "place": "the <padj> <pnoun>",
    "a_place": "<a_padj> <pnoun>",
    "site": "the <sadj> <snoun>",
    "at_site": "<sprep> the <sadj> <snoun>",
}
