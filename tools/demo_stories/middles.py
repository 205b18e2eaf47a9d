"""The middle of a story: trying alone, losing heart, meeting a helper, and the rescue."""

from collections.abc import Iterable, Mapping

from .template import Template

_TOO = "{much|far|simply|quite} too"
_TRIES = {
    "high": (
        "<He> {jumped|hopped|leaped} {as high as <he> could|again and again|up and up}, but the "
        "<snoun> was " + _TOO + " {high|tall}.",
        "<He> {tried to climb|began to climb|started up} the <snoun>, but <he> {soon|always} {slid|"
        "slipped|tumbled} {back down|down again|to the ground}.",
        "<He> {threw|tossed} a {pebble|rope|pinecone|stick} at it, but {the throw fell short|it "
        "missed|it bounced off}.",
        "<He> {stacked|piled up} {three|four|five} {boxes|logs|crates|chairs} and stood on top, "
        "but "
        "<he> {still could not|could not quite} reach it.",
        "<H> {shook|kicked|pushed} the <snoun> {hard|twice|for an hour}, but {nothing fell|nothing "
        "moved|the <noun> stayed where it was}.",
        "No {ladder|rope|stick} <he> {found|tried} was {half as tall as|as tall as} the <snoun>.",
    ),
    "water": (
        "<He> {reached|poked} {down|around} with a {stick|pole|rake|branch}, but the <snoun> was "
        + _TOO
        + " deep.",
        "<He> {dipped|put} {one toe|a foot|<his> nose} {in|in the <snoun>}, but the water was "
        + _TOO
        + " {cold|dark|deep}.",
        "<H> {tried to fish|fished} for it with a {hook|net|string|line}, but {caught|found} only "
        "{weeds|mud|a shoe|leaves}.",
        "But <he> {had never learned|did not know how} to swim, and the <snoun> "
        "{looked|seemed|was} "
        "very deep.",
        "<H> {held <his> breath|took a deep breath} and {jumped in|waded in}, but <he> {came up|"
        "came back} {coughing|shivering|dripping} {without it|with nothing}.",
        "<He> {took|found} a {bucket|jug|pan} and {tried|began} to empty the <snoun>, but it "
        "{always|only} {filled up|stayed full}.",
    ),
    "dark": (
        "<He> {took|went} {two|three|four|ten} steps into the <snoun>, but {it was|everything was}"
        " " + _TOO + " dark.",
        "<He> {lit|struck} a {match|candle}, but {a draft|the damp air|a drip of water} {blew|put} "
        "it out[ {at once|again}].",
        "<H> {called|shouted} into the <snoun>, but only {an echo|a strange sound|a cold wind} "
        "{answered|came back}.",
        "<H> {crept|tiptoed|felt <his> way} {in|along the wall}, but {a noise|a shadow|a bump} "
        "{made <him> run|sent <him>|chased <him>} {back|out again}.",
        "But <he> could not see {a thing|<his> own nose|anything at all} in the <snoun>, {and|so} "
        "<he> "
        "{soon|quickly} turned {back|around}.",
        "Inside, <he> {bumped|knocked} <his> head {twice|three times|on a rock} and {had "
        "to|decided to} "
        "{leave|come out of} the <snoun>.",
    ),
    "buried": (
        "<He> {dug|scraped|shoveled} {for an hour|all day|until noon} with {a spoon|a stick|a plate"
        "}, but the hole {was|stayed} " + _TOO + " {small|shallow}.",
        "<H> {scratched|poked|picked} at the <snoun>, but {it was|the ground was} " + _TOO + " "
        "{hard|solid|tough}.",
        "<He> {made|dug} {one|a first|a second} hole, but it {fell in|filled up} {again|at once|"
        "before <he> was done}.",
        "{However|No matter how} {deep|long|hard} <he> dug, <he> {found|saw} only {stones|roots|"
        "worms}{| and more earth}.",
        "<He> {borrowed|found} {a rake|a shovel|a spade}, but it {broke|snapped|bent} {at once|in "
        "two|on a stone}.",
        "Soon <his> arms {ached|hurt|were sore}, and the <snoun> looked {as big as before|just the "
        "same|bigger than ever}.",
    ),
    "thorns": (
        "<He> {reached|stretched} {in|out}, but the thorns {pricked|scratched|stung} <his> {nose|"
        "ears|skin|arms}.",
        "<He> {tried|wanted} to {push|squeeze} through, but the <snoun> was " + _TOO + " {thick|"
        "prickly|tangled}.",
        "<H> {poked|pulled|tugged} at it with a {stick|hook|rake|branch}, but it only "
        "{broke|slid deeper|got stuck}.",
        "<He> {went|walked|crept} {all around|twice around} the <snoun>, but there was no {gap|path"
        "|way in|opening}.",
        "{Ouch|Ow}! {Every branch|Every twig|Each leaf} of the <snoun> had {a hundred|sharp|a "
        "thousand} thorns.",
        "<H> {lay down|knelt} and {tried|began} to crawl {under|through} it, but <he> {was too big|"
        "got stuck|could not fit}.",
    ),
    "heavy": (
        "<He> {pushed|shoved|pulled|heaved} {as hard as <he> could|with all <his> might}, but the "
        "<snoun> {did not move|would not budge|stayed put}.",
        "<He> {tied|put} a rope {around|on} the <snoun> and pulled, but the rope {broke|snapped|"
        "slipped off}.",
        "<H> {tried|used} a {pole|branch|plank} {as a lever|to lift it}, but it {cracked|bent|broke"
        "} {at once|in two}.",
        "The <snoun> was " + _TOO + " heavy to {lift|move|push|roll}[ {alone|away}].",
        '<He> {counted|shouted} "{one, two, three|ready, steady, go}!" and {lifted|heaved}, but '
        "{nothing happened|nothing moved|<he> fell over}.",
        "{However|No matter how} {hard|long|often} <he> {pushed|pulled}, the <snoun> {was stronger|"
        "never moved|only creaked}.",
    ),
}


def _by_obstacle(sources: Mapping[str, Iterable[str]]) -> tuple[Template, ...]:
    return tuple(
        Template(source, {"obstacle": obstacle})
        for obstacle, group in sources.items()
        for source in group
    )


_LEADS = "{First|At first|At once|Right away|Full of hope|Without a pause|Bravely|"
_LEADS += "With a frown|Humming a little|Rolling up both sleeves|After some thought}"


def _varied(source: str) -> str:
    """The sentence with several ways to begin, where it begins with the hero."""
    for who in ("<He> ", "<H> "):
        if source.startswith(who):
            rest = source.removeprefix(who)
            return "{<He>|<H>|" + _LEADS + ", {<he>|<H>}} " + rest
    return source


TRIES = _by_obstacle({key: map(_varied, sources) for key, sources in _TRIES.items()})

SORROWS = tuple(
    Template(source)
    for source in (
        "{Sadly|Slowly|Tired and sad}, <H> {sat down|sank down} {on a stump|on a stone|in the grass"
        "|by the path} and {sighed|wept|cried}.",
        "<H> {felt like crying|felt very sad|felt all alone|was close to tears}.",
        "A {big|small|single|hot} tear {ran|rolled} down <his> {cheek|nose|face}.",
        '"{I will never get|I cannot reach|How will I ever get} {it|the <noun>|that <noun>}!'
        '" {sighed|cried|sobbed} <H>.',
        '"{What shall|What can|What will} I do{| now}?" {wondered|sighed|whispered} <H>.',
        "<H> {hung <his> head|covered <his> face|kicked a stone} and {almost gave up|wanted to go "
        "home|did not know what to do}.",
        "<He> was so {sad|tired|upset} that <he> {could not speak|forgot to eat|sat down and "
        "cried}.",
        "{Poor|Unhappy|Weary} <H> {did not know what to do|had no more ideas|had tried "
        "everything}.",
    )
)

ARRIVALS = tuple(
    Template(source)
    for source in (
        "{Just then|At that moment|After a while}, <a_fkind> {named|called} <F> {came by|passed by|"
        "happened to pass|came along}.",
        "<A_fkind> {named|called} <F> {heard|saw|noticed} <him> and {stopped|came closer|hurried "
        "over}.",
        "{Luckily|By good luck|As luck would have it}, <F> the <fkind> {lived nearby|was on <fhis> "
        "way home|was close by}.",
        '"{Hello|Good day|Hey there}!" said {a voice|a friendly voice}. It was <F>, <a_fkind>'
        "[ {from the next village|with a kind face}].",
        "{Along|Up the path|Down the road|Over the hill} came <a_fkind> {whose name "
        "was|named|called} <F>.",
        "{Near|Beside} the path {stood|sat|rested} <F>, {<a_fkind>|an old <fkind>|a wise <fkind>|a "
        "kind <fkind>}.",
        "{Someone|Somebody} {tapped|touched} <his> {arm|shoulder}: it was <F>, the {old|kind|wise|"
        "jolly} <fkind>.",
        "<H> {went|ran|hurried} to {ask|find} <F>, {the|a} {clever|kind|wise|famous|old} <fkind>"
        "[ {down the road|next door}].",
    )
)

_SAYS = "{said|answered|replied}"
_CAN = {
    "high": "{Nobody flies|No one flies|Few fly} {higher than I do|as high as me}|My wings {never "
    "tire|are strong|love the wind}|I {was born|grew up} {to fly|in the sky}",
    "water": "{Nobody swims|No one swims|Few swim} {better than I do|as well as me}|The water is "
    "my "
    "{home|friend|playground}|I {love|like} {to dive|diving|a good swim}",
    "dark": "I {always carry|never go without} a {|little }light|I {have no fear|am not afraid} of "
    "the {dark|night|shadows}|My light {shines|glows} in {any|every} darkness",
    "buried": "{Nobody digs|No one digs|Few dig} {faster than I do|as well as me}|{Digging|Making "
    "tunnels} is what I {do|love} best|I have {dug|made} {a hundred|many} {holes|tunnels}",
    "thorns": "I {can slip|slip|creep} {between|through|past} {any|all} thorns|{Thorns|Prickles} "
    "{never hurt|do not bother} me|I am {small enough|so small that I can} {to crawl|crawl} in",
    "heavy": "I am {as strong as|stronger than} {ten|twenty} {men|mules}|{Nobody is|No one is|Few "
    "are} stronger than {me|I am}|I {lift|carry|move} {such things|heavy things} {every day|for "
    "fun}",
}
_ASKS = (
    '"{Why are you|What makes you} so {sad|glum|unhappy}?" {asked|said} <F>. ',
    '"{What is wrong|What is the matter|What happened}, <H>?" {asked|said} <F>. ',
    "<H> {told|quickly told|shyly told} <fhim> {everything|the whole story|about the <noun>|what "
    "was wrong}. ",
    "<H> {pointed|nodded} {at|towards} <site>. ",
    '"My <noun> is <at_site>!" {said|cried|sobbed} <H>. ',
    '"{Please|Oh, please}, {can|could} you {help|help me}?" {asked|begged} <H>. ',
    "<F> {looked at|studied|eyed} <site>{| and nodded| and smiled}. ",
)


_RECALLING = ("<site>", "<at_site>", "<fhim>", ", <H>?")


def _talks() -> Iterable[Template]:
    for ask in _ASKS:
        recalls = any(mark in ask for mark in _RECALLING)
        states = {"plot": "lost"} if "My <noun>" in ask else {}
        yield Template(
            f"[{ask}]"
            + '"{I can help|I will help|Let me help|Leave it to me|Let me try|Do not worry}," '
            + _SAYS
            + " {<F>|the <fkind>}.",
            states,
            recalls,
        )
        for obstacle, can in _CAN.items():
            yield Template(
                f"[{ask}]" + '"{' + can + '}," ' + _SAYS + " {<F>|the <fkind>}"
                "[, {smiling|laughing|with a grin}].",
                {"obstacle": obstacle, **states},
                recalls,
            )


TALKS = tuple(_talks())

_BACK = " and {came back|returned|soon came back} with the {<obj>|<noun>}[ at last]."
_RESCUES = {
    "high": (
        "<F> {spread <fhis> wings|flapped twice|took off}, {flew|soared|sailed} to the top of the "
        "<snoun>" + _BACK,
        "{Up|Up and up|Higher and higher} {flew|went} <F>, {past|over} the {branches|birds|clouds}"
        " to the {very |}top, and {picked up|grabbed|took} the <noun>.",
        "With {one|a} {swoop|flap of <fhis> wings}, <F> {landed on|reached} the <snoun> and {picked"
        " up|lifted|took} the <obj>.",
        "<F> {circled|flew around} the <snoun> {once|twice|three times}, {dived|swooped} and "
        "{caught|seized|plucked} the <noun>.",
    ),
    "water": (
        "<F> {dived|slid|slipped|plunged} into the <snoun>, {swam|went} {down|deep down}" + _BACK,
        "{Splash|Plop}! <F> {swam|dived} {down and down|to the bottom} and {picked up|grabbed|found"
        "} the <obj>.",
        "<F> {took a deep breath|jumped in}, {vanished|disappeared} under the water" + _BACK,
        "{Bubbles|Ripples} {rose|appeared}, and {soon|then} <F> {came up|popped up} with the "
        "{<obj>|<noun>}.",
    ),
    "dark": (
        "<F> {lit the way|led the way|held up a light}, and {together they|the two of them} {walked"
        "|crept} into the <snoun> and {found|picked up} the <obj>.",
        "<F> {shone|glowed|held a light} so {brightly|well} that {every corner|every stone|the "
        "whole"
        " <snoun>} {was bright|could be seen}, and there {was|lay} the <noun>.",
        "With a {small|bright|warm} light, <F> {went|walked|marched} {in|into the <snoun>}" + _BACK,
        "In the {glow|light}, {the shadows fled|the <snoun> was not scary|it was easy}, and <F> "
        "{soon|quickly} {found|saw|reached} the <noun>.",
    ),
    "buried": (
        "<F> {dug|burrowed|tunneled} {into|under} the <snoun> {like the wind|without a rest}"
        + _BACK,
        "{Earth|Dirt|Pebbles} flew {everywhere|left and right}, and {soon|then} <F> {pulled|dragged"
        "|lifted} out the {<obj>|<noun>}.",
        "<F> {made|dug} a {long|deep|neat} {tunnel|hole}, {crawled|wriggled} {in|inside}" + _BACK,
        "{Scratch|Dig}, {scratch|dig}, {scratch|dig} {went|worked} <F>, until the <noun> {came|"
        "peeped|rolled} out of the <snoun>.",
    ),
    "thorns": (
        "<F> {crept|slipped|wriggled} {between|under|past} the thorns" + _BACK,
        "{Carefully|Quietly|Bit by bit}, <F> {crawled|squeezed} into the <snoun> and {pulled|pushed"
        "|rolled} out the {<obj>|<noun>}.",
        "Not one thorn {touched|scratched|caught} <F>, who {soon|quickly} {brought|carried} {out|"
        "back} the <obj>.",
        "<F> {found|knew} a {tiny|secret|narrow} {gap|way} {in|through}, {freed|grabbed} the "
        "<noun> "
        "and {crawled|hurried} {out|back}.",
    ),
    "heavy": (
        "<F> {bent down|took a deep breath|planted <fhis> feet}, {lifted|raised|rolled away} the "
        "<snoun> and {picked up|freed} the <obj>.",
        "With {one|a single|a mighty} {push|shove|heave}, <F> {moved|tipped|rolled} the <snoun> "
        "{aside|over}, and there {was|lay} the {<obj>|<noun>}.",
        "<F> {leaned|pushed} against the <snoun> until it {moved|rolled|slid} {away|aside}, and "
        "<H> "
        "{pulled out|grabbed|picked up} the <noun>.",
        "The <snoun> {creaked|groaned|wobbled}, {but|and} <F> {lifted|held} it {up|high} while <H> "
        "{reached for|took|pulled out} the <noun>.",
    ),
}
RESCUES = _by_obstacle(_RESCUES)
