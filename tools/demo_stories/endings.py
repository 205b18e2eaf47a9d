"""How a story ends: thanks, a treat, what became of the thing, and the last line."""

from .template import Template

_THANKS = tuple(
    Template(source)
    for source in (
        '"{Thank you|Thank you so much|Oh, thank you}, <F>!" {cried|said|laughed} <H>[, {hugging|'
        "kissing} <fhim>].",
        "<H> {danced|jumped|laughed|clapped} {for|with} joy and {thanked|hugged|kissed} <F>.",
        "<H> {thanked|hugged} <F> {again and again|with all <his> heart|a hundred times|ten "
        "times}.",
        '"{Here you are|Here it is|There you go}, <H>," said <F>, and {gave <him>|handed <him>} '
        "the {<obj>|<noun>}.",
        "{How|Oh, how} {happy|glad} <H> was! <He> {hugged|thanked|bowed to} <F>[ {twice|at once}].",
        "<H> {held|hugged|took} the <noun> {tightly|with a smile|and laughed}, {then|and} <he> "
        "{hugged|thanked} <F>.",
        '"You {saved the day|are {wonderful|amazing}|did it}, <F>!" {cried|said|called} <H>, {'
        "beaming|smiling|laughing}.",
    )
)
_GIFT_THANKS = tuple(
    Template(source, {"plot": "gift"})
    for source in (
        '"My <kin> will {love|adore|treasure} it! Thank you, <F>!" {cried|said|laughed} <H>.',
        '"{Now|At last} I have a {gift|present} for my <kin>!" {cried|said|laughed} <H>, and '
        "{hugged|thanked|kissed} <F>.",
    )
)
THANKS = (*_THANKS, *_GIFT_THANKS)

TREATS = tuple(
    Template(source, recalls="<F>" in source)
    for source in (
        "{To thank <fhim>|As thanks|In return}, <he> {shared|brought|gave <fhim>} some <treat> {and"
        "|with} <treat2>.",
        "{Then|Afterwards} {they|the two} {ate|had|shared} <treat> and <treat2> {by|near|beside} "
        "{the fire|a warm stove|an open window}.",
        "{They|The two} {sat down|rested} {together|for a while} and {ate|enjoyed|shared} <treat> "
        "and <treat2>.",
        "<F> {would take|wanted} no {gold|money|reward}, only {a little|some|a bit of} <treat>.",
        '"{Come|Come home with me} {and have|for} some <treat>!" {said|begged|added} <H>, {and|so}'
        " <F> {came|did|agreed}.",
        '"{Do you like|Would you like} <treat>?" {asked|said} <H>. "{I do|Of course|Very much}!" '
        "{said|laughed} <F>.",
    )
)

_THEY = "{<H> and <F>|they|the two {friends|of them}}"
_KEPT = (
    "<H> {went|walked|ran|skipped} home with <his> <obj>, {and <he> {sang|smiled}|singing|smiling} "
    "all the way.",
    "{At home|Back home}, <H> {cleaned|dried|wiped|washed} the <obj> and {kissed|hugged|admired} "
    "it.",
    "{That night|At bedtime}, <H> {put|laid|hung} the <obj> {by|near} <his> bed and {slept well|"
    "smiled|dreamed sweetly}.",
    "<H> {showed|carried} the <obj> {to|around to} {everyone|all the neighbors|all <his> friends}"
    "[ <in> <place>].",
    "{All day long|For days|From then on}, <H> {played with|looked at|talked about|admired} the "
    "{<noun>|<obj>}.",
)
_FATES = {
    "lost": (
        *_KEPT,
        "{Since|After} that <weather> <daypart>, the <noun> {was never lost again|never got lost "
        "again|always stayed near <him>}.",
        "{The <obj>|Now the <noun>} was {back where it belonged|safe again|home again}, and <H> "
        "{slept|felt} {well|fine} that night.",
    ),
    "gift": (
        "<His> <kin> {cried|laughed|shouted} {for|with} joy when <he> {brought|unwrapped|came home "
        "with} the <obj>.",
        '"{What|Such} a {lovely|beautiful|fine|perfect} {gift|present|surprise}!" {said|cried} '
        "<his> <kin>[, holding the <noun>].",
        "{That|The same} {night|evening}, <H> {gave|brought|carried} the <obj> to <his> <kin>, who "
        "{hugged|kissed|thanked} <him>.",
        "When <his> <kin> {saw|unwrapped|held} the <noun>, they both {smiled|laughed|danced|sang} "
        "{all day|until bedtime|for an hour}.",
        "<His> <kin> {loved|adored|treasured} the <obj> and {kept|put} it {by the bed|on a "
        "shelf|in "
        "the window}.",
    ),
    "wish": (
        *_KEPT,
        "{Now|At last|Finally} <H> had <a_obj>[ of <his> own], and <he> {was happy|smiled all day|"
        "could not stop smiling}.",
        "<His> wish had come true: the <obj> belonged to <him> {at last|now|forever}.",
    ),
}
FATES = tuple(
    Template(source, {"plot": plot}, recalls="<weather>" in source)
    for plot, sources in _FATES.items()
    for source in sources
)

CLOSINGS = tuple(
    Template(source, recalls="<weather>" in source)
    for source in (
        "{From that day on|Ever since|Ever after|After that}, "
        + _THEY
        + " were {best friends|good "
        "friends|the best of friends|always together}.",
        "{And|And so} " + _THEY + " lived happily {ever after|for many years} <in> <place>.",
        "<H> {never forgot|always remembered} that <weather> <daypart> and the {kind|good|clever} "
        "<fkind>.",
        "{And if you|If you ever} {visit|go to|pass} <place>, you {may|might|can} {still "
        "|}{see|hear"
        "|meet} <H> and <F>.",
        "{That is how|This is how|So} <H> {learned|found out} that {a friend|asking for help|a "
        "kind "
        "word} {makes|can make} {hard things|big things|everything} {easy|easier|possible}.",
        "{People|Folk|Children} <in> <place> still {tell the story|talk|sing songs|sing} of <H> "
        "and <F>[ the <fkind>].",
        "And {every|each} <weather> <daypart>, <F> the <fkind> {came|comes} {to visit|to tea|by to "
        "say hello}.",
        "The {sun set|moon rose|stars came out} over <place>, and " + _THEY + " {were|felt} {happy|"
        "glad|content}.",
        "<H> was {happy|glad|proud} again, and so was <F>[ the <fkind>].",
        "{And so|So} <H> and <F> the <fkind> {stayed|remained} friends {forever|all their "
        "lives|for life|to this day}.",
        "{And that was|That was} the {best|happiest|finest} {day|end|adventure} {anyone|anybody} "
        "<in> <place> could {remember|imagine|wish for}.",
    )
)
