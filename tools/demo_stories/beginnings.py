"""How a story begins: who and where, what is wanted, and what goes wrong."""

from collections.abc import Iterable

from .template import Template

_A_HERO = "<a_trait>[ {little|young}] <kind>"
_THE_HERO = "the <trait>[ {little|young}] <kind>"
_CALLED = "{named|called|whose name was|known as}"
_ONCE = "{" + "Once upon a time|" * 7 + "Once|Long ago|"
_ONCE += "Long, long ago|A long time ago|Many years ago|Not so long ago|Far, far away}"
_ONE_DAY = "One {<weather> <daypart>|<weather> <daypart>|day}"

_TIMELESS = (
    _ONCE
    + ", {there lived|there was|lived|there once lived} "
    + _A_HERO
    + " "
    + _CALLED
    + " <H> <in> <a_place>.",
    _ONCE + ", " + _A_HERO + " " + _CALLED + " <H> {lived|made <his> home|had a {small|cozy|little}"
    " {house|hut|cottage}} <in> <a_place>.",
    _ONCE
    + ", <in> <a_place>, {there lived|there once was|there was} "
    + _A_HERO
    + " "
    + _CALLED
    + " <H>.",
    _ONCE
    + " <in> <a_place>, {there lived|there dwelt|there was} "
    + _A_HERO
    + " "
    + _CALLED
    + " <H>.",
    _ONCE + " there {was|lived} " + _A_HERO + " " + _CALLED + " <H>, who {lived|made <his> home} "
    "<in> <a_place>.",
    "There {once was|was once|once lived} "
    + _A_HERO
    + " {{named|called|known as} <H> <in> <a_place>|<in> "
    "<a_place> " + _CALLED + " <H>}.",
    "<In> {<a_place>|<place>}[ {far away|not far from here|beyond the hills}] {there "
    "lived|lived|there was} " + _A_HERO + " " + _CALLED + " <H>.",
    "<H> was " + _A_HERO + " {who lived|from a cottage|with a small home} <in> <a_place>.",
    "<H> {the <kind> lived|the <kind> had a small house} <in> <a_place>, and {nobody|no one} {there"
    "|anywhere} was as <trait>.",
    "{Everyone|Everybody} <in> <place> {knew|loved|liked} <H>, " + _THE_HERO + ".",
    "{This is the|Here is a|Here is the} {story|tale} of <H>, " + _A_HERO + " "
    "{who lived|who made <his> home|from a hut} <in> <a_place>.",
    "The {youngest|smallest|newest} <kind> <in> <place> was {called|named} <H>, and <he> was "
    "{very|really|always} <trait>.",
    "The[ <trait>] <kind> {called|named|known as} <H> lived {all alone|happily|quietly} <in> "
    "<a_place>.",
    "{A|One} {little|small} <kind> {called|named} <H> lived <in> <a_place>, and {everyone|all the "
    "neighbors} {thought|said} <he> was <trait>.",
    "My {old neighbor|best friend|dear friend} {once told me about|likes to tell the tale of} <H>, "
    + _A_HERO
    + " who lived <in> "
    "<a_place>.",
)
_DATED = (
    _ONE_DAY + ", " + _A_HERO + " " + _CALLED + " <H> {woke up {early|late}|went for a walk|stepped"
    " outside|sat on a {gate|fence|wall}} <in> <a_place>.",
    _ONE_DAY + ", <H>, " + _A_HERO + ", {woke up|set out|went out|looked out|was playing} <in> "
    "<a_place>.",
    "It was {<a_weather> <daypart>|<a_weather> <daypart>|a fine day} <in> <a_place>, {where|and} "
    + _A_HERO
    + " "
    + _CALLED
    + " <H> {lived|was {up|awake} early|was {whistling|humming} a tune}.",
    _ONE_DAY + " <in> <a_place>, " + _A_HERO + " " + _CALLED + " <H> was {sweeping the floor|"
    "looking at the sky|having breakfast|out for a walk}.",
)
OPENINGS = (
    *(Template(source, {"dated": "no"}) for source in _TIMELESS),
    *(Template(source, {"dated": "yes"}) for source in _DATED),
)

_DOING = (
    "{{painting|drawing|watching|chasing|counting} {clouds|butterflies|boats|birds|snails|stars}|"
    "{baking|sharing|tasting} {bread|buns|cakes|tarts}|{singing|humming|whistling} {old "
    "songs|silly "
    "songs|tunes}|{telling|hearing|reading} {riddles|jokes|stories|poems}|{picking|eating|finding} "
    "{berries|mushrooms|flowers|nuts}|{jumping over|dancing in|splashing in} puddles|{planting|"
    "growing} {beans|carrots|roses}|feeding the {birds|hens|geese}|climbing {hills|fences|rocks}|"
    "collecting {pebbles|leaves|buttons|sticks}|skipping stones|flying paper birds}"
)
HABITS = (
    Template("<He> {loved|liked|enjoyed} " + _DOING + " and " + _DOING + "."),
    Template(
        "{Every|Each} {morning|evening|day|week} <he> {spent {an hour|some time} |was busy }"
        + _DOING
        + "[, {rain or shine|just for fun|with a smile}]."
    ),
    Template("<H> was {happiest|best|happy} when <he> was " + _DOING + " {or|and} " + _DOING + "."),
    Template(
        "{Nobody|No one} was better at "
        + _DOING
        + ", {but|though} <he> {also liked|liked|preferred}"
        " " + _DOING + "."
    ),
    Template("<H> {knew all about|dreamed of|never tired of} " + _DOING + "."),
    Template(
        "{In spring|In summer|In autumn|In winter|On holidays}, <he> {loved|liked|enjoyed} "
        + _DOING
        + "."
    ),
)

_BIRTHDAY = "{birthday|name day|birthday party}"
WANTS = (
    *(
        Template(source, {"plot": "lost"})
        for source in (
            "<His> {greatest|dearest|best|finest} {treasure|possession} was <a_obj>[, {a gift|a "
            "present} from {an old friend|a kind neighbor}].",
            "<He> {owned|had} <a_obj>, and <he> {carried|took} it {everywhere|wherever <he> went|"
            "to every party}.",
            "Of all the things <he> {owned|had}, <H> {loved|liked|treasured} <his> <obj> {best|most"
            "|the most}.",
            "{Wherever|Everywhere} <H> went, <his> <obj> {went too|came along|came with <him>}.",
            "{Every night|Each night} <H> {slept|fell asleep|went to bed} with <a_obj> {beside "
            "<him>|"
            "near <his> bed|under <his> pillow}.",
            "{An old friend|A kind neighbor|A traveler} had {given|made|left} <him> <a_obj>, and "
            "<H> {took good care of|"
            "loved|was proud of|never lost sight of} it.",
            "<H> {kept|had} <a_obj> that {once belonged to a {king|queen}|came from {far "
            "away|the market}}.",
        )
    ),
    *(
        Template(source, {"plot": "gift"})
        for source in (
            "<His> <kin> {would soon have|was soon to have|was planning} a " + _BIRTHDAY + ", and "
            "<H> {wanted|hoped|planned} to find <a_obj> as a {gift|present|surprise}.",
            "{More than anything|Most of all|Above all}, <H> {wished|wanted|hoped} to {find|get} "
            "<a_obj> for <his> <kin>.",
            "<His> <kin> had {always|long} {dreamed of|wished for|wanted} <a_obj>, so <H> {decided|"
            "planned|promised} to {find|bring|get} one.",
            "<H> {was looking|had looked|searched} {everywhere|far and wide|high and low} for "
            "<a_obj>,"
            " {a|the perfect|a fine} {present|gift|surprise} for <his> <kin>.",
            "<His> <kin> {was ill|was sad|felt lonely|had a cold}, and <H> {thought|was sure|hoped}"
            " <a_obj> would {help|be a comfort|bring some cheer}.",
            "It was {nearly|almost} <his> <kin>'s " + _BIRTHDAY + ", and {the best|the right|a "
            "fine} {gift|present} would be <a_obj>.",
        )
    ),
    *(
        Template(source, {"plot": "wish"})
        for source in (
            "{More than anything|Most of all|Above all}[ in the world], <H> {wanted|wished for|"
            "longed for} <a_obj>[ of <his> own].",
            "<He> had {only one|just one|a single} wish: <a_obj>[ of <his> own].",
            "{Every|Each} night <he> {dreamed of|wished for|thought about} <a_obj>, and {every|"
            "each} morning <he> {woke|got up} without one.",
            "{Everyone else|All <his> friends|Everybody else} {had|owned} {toys|treasures|fine "
            "things}, but <H> {only wanted|just wanted|wished for} <a_obj>.",
            "<H> {had never owned|had never had|did not have} <a_obj>, {but|and} <he> {wanted|"
            "wished for} one {very much|badly|with all <his> heart}.",
            '"{If only I had|How I wish for|I would love} <a_obj>!" <he> {often|always} {said|'
            "sighed}.",
        )
    ),
)

_LEADS = {
    "no": (
        "One <weather> <daypart>, ",
        "Then, one <weather> <daypart>, ",
        "But one <weather> <daypart>, ",
        "On <a_weather> <daypart>, ",
        "It was <a_weather> <daypart> when ",
    ),
    "yes": (
        "{Soon|Before long|A little later|Later that <daypart>|That same <daypart>|By and by}, ",
        "{Then|Suddenly|All at once}, ",
        "{It was not long before|An hour had passed when|Not an hour had passed when} ",
    ),
}
_LAY = " {and|and soon|and in the end|and a moment later} it {lay|was lying|was} <at_site>."
_CAUSES = {
    "high": (
        "a {strong|sudden|wild|great} {wind|gust|breeze} {snatched|swept|whirled|blew} the <noun> "
        "{away|up into the air|out of sight}," + _LAY,
        "a {cheeky|naughty|greedy} {raven|jackdaw|jay} {stole|took|grabbed} the <noun>," + _LAY,
    ),
    "water": (
        "the <noun> {slipped|fell|dropped} {out of|from} <his> {bag|pocket|arms|basket} {with a "
        "splash|into the water}," + _LAY,
        "<H> {tripped|slipped|stumbled} {on a root|in the mud|on a stone} and {dropped|lost} the "
        "<noun> {with a splash|in the water}," + _LAY,
    ),
    "dark": (
        "the <noun> {rolled|tumbled|slid|bounced} {away|out of sight|into the shadows}," + _LAY,
        "a {sly|naughty|cheeky} {rat|goblin|imp} {stole|took|hid|grabbed} the <noun>," + _LAY,
    ),
    "buried": (
        "the ground {shook|gave way|slipped} and {covered|swallowed|took} the <noun>," + _LAY,
        "a {forgetful|silly|careless} {dog|hound|jackal} {stole|took|grabbed|buried} the <noun>,"
        + _LAY,
    ),
    "thorns": (
        "the <noun> {flew|slipped|bounced} {out of|from} <his> {bag|arms|basket|hands}," + _LAY,
        "a {clumsy|startled|running} {goat|calf|stag} {kicked|knocked|tossed} the <noun> {away|"
        "aside}," + _LAY,
    ),
    "heavy": (
        "there was a {crash|rumble|bump|thump}, and the <noun> {fell|rolled off|was gone}: it lay "
        "<at_site>.",
        "something {shook|slid|toppled|gave way} {above|near|beside} the <noun>," + _LAY,
    ),
}
_FOUND = (
    "<he> {spotted|saw|noticed|found} <a_obj> <at_site>.",
    "<H> {spotted|saw|noticed|found} {just what <he> wanted|the very thing|exactly that}: <a_obj>, "
    "<at_site>.",
    "an old {traveler|peddler|neighbor|beggar} {told <him>|said|whispered} that <a_obj> {lay|"
    "was hidden|was waiting} <at_site>.",
    "<he> {followed|took|tried} a {new|strange|winding|forgotten} path and {saw|discovered|found} "
    "<a_obj> <at_site>.",
    "something {gleamed|glinted|caught <his> eye}: it was <a_obj>, <at_site>.",
    "<he> {heard|learned|read} that <a_obj> {lay|could be found|had been left} <at_site>.",
)


def _events() -> Iterable[Template]:
    for dated, leads in _LEADS.items():
        lead = "{" + "|".join(leads) + "}"
        for obstacle, causes in _CAUSES.items():
            for cause in causes:
                states = {"dated": dated, "plot": "lost", "obstacle": obstacle}
                yield Template(lead + cause, states)
        for plot in ("gift", "wish"):
            for found in _FOUND:
                yield Template(lead + found, {"dated": dated, "plot": plot})


EVENTS = tuple(_events())
