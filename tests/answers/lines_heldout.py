"""Second split of the generated answer lines: templates, words and spellings that the first one does not have.

It was held out until its faults were read; since then it is a development split too. `lines_fresh.py` is the next one.
"""

from tests.answers.lines import COMMON, Line, Tables, Vocabulary, dev, generate


def heldout(seed: int = 0) -> list[Line]:
    """Draw the held-out split; a line that dev() has is left out."""
    seen = {line[:3] for line in dev()}
    return [line for line in generate((COMMON, HELDOUT), VOCABULARY, f"held-out {seed}") if line[:3] not in seen]


STYLES = [
    "\n\n|{0}. {2}",
    "\n|[{0}] {2}",
    "\n|({1}) {2}",
    "\n|- {0}) {2}",
    "\n|**{0}.** {2}",
    "\n|{0}．{2}",
    " |{0}. {2}",
    "\n|{1}) {2}",
]

VOCABULARY: Vocabulary = {
    "unit unitw unit2 unit2w": [
        ("m/s", "metres per second", "km/h", "kilometres per hour"),
        ("oz", "ounces", "lb", "pounds"),
        ("ft", "feet", "in", "inches"),
        ("GB", "gigabytes", "MB", "megabytes"),
        ("min", "minutes", "s", "seconds"),
        ("L", "litres", "gallons", "gallons"),
    ],
    "len lenw len2": [("km", "kilometres", "m"), ("yd", "yards", "ft"), ("mm", "millimeters", "cm")],
    "noun noun1 noun2": [
        ("marbles", "marble", "blocks"),
        ("tickets", "ticket", "vouchers"),
        ("children", "child", "adults"),
        ("puppies", "puppy", "kittens"),
        ("boxes", "box", "crates"),
        ("muffins", "muffin", "pies"),
        ("trees", "tree", "bushes"),
    ],
    "name she": [("Maria", "She"), ("Mrs. Lee", "She"), ("Ravi", "He"), ("The farmer", "He"), ("Olga", "She")],
    "cur curw cur2 curw2": [
        ("£", "pounds", "¥", "yen"),
        ("¥", "yen", "$", "dollars"),
        ("₹", "rupees", "€", "euros"),
        ("£", "pounds", "$", "dollars"),
    ],
    "verb": [("collected",), ("found",), ("made",), ("saw",), ("planted",), ("received",)],
    "var var2": [("q", "r"), ("r", "q"), ("u", "q"), ("k", "n")],
    "thing": [("volume",), ("profit",), ("median",), ("total weight",), ("difference",), ("number of tickets",)],
    "yes no Yes No YES true false True False clause": [
        ("yes", "no", "Yes", "No", "YES", "true", "false", "True", "False", "the tower is taller"),
        ("no", "yes", "No", "Yes", "NO", "false", "true", "False", "True", "the tower is not taller"),
        ("yes", "no", "Yes", "No", "YES", "true", "false", "True", "False", "she would agree"),
        ("no", "yes", "No", "Yes", "NO", "false", "true", "False", "True", "it was built later"),
    ],
    "ent ent2 entl ent2l entn entN": [
        ("Entails", "Contradicts", "entails", "contradicts", "entailment", "ENTAILS"),
        ("Contradicts", "Entails", "contradicts", "entails", "contradiction", "CONTRADICTS"),
    ],
    "text text2 TEXT": [
        ("chloroplast", "ribosome", "CHLOROPLAST"),
        ("Amazon River", "Nile River", "AMAZON RIVER"),
        ("friction", "gravity", "FRICTION"),
        ("water vapor", "liquid water", "WATER VAPOR"),
        ("violin", "trumpet", "VIOLIN"),
    ],
    "month mon month2": [("April", "Apr", "August"), ("October", "Oct", "June"), ("September", "Sep", "January")],
    "cunit cunit2": [("分钟", "秒"), ("升", "毫升"), ("平方米", "立方米"), ("公里", "米"), ("美元", "欧元")],
    "cnoun": [("梨",), ("橘子",), ("西瓜",)],
    "options": [
        ("3 hours|4 hours|5 hours|6 hours",),
        ("iron|copper|gold|silver|tin",),
        ("B. Franklin|G. Washington|T. Jefferson|A. Lincoln",),
        ("1:2|2:3|3:4|4:5",),
        ("Rs. 1200|Rs. 1500|Rs. 1800|Rs. 2100|None of these",),
        ("The plant grows faster|The soil becomes dry|The leaves turn yellow|No change is seen",),
        (r"$\frac{1}{2}$|$\frac{1}{3}$|$\frac{1}{4}$|$\frac{1}{5}$",),
    ],
}

HELDOUT: Tables = {
    "plain": r"""
        + 00<n> => <n>
        + <n>.000 => <n>
        + <dec>0 => <dec>
        + "<n>" => <n>
        + <n>! => <n>!
        - <nless> => <n>
        - <n>00 => <n>
        - 0.<n> => <n>
        - <n>9 => <n>
        - <decx10>0 => <dec>
    """,
    "units": r"""
        + <n>\text{ <unitw>} => <n> <unit>
        + <n> <unitw>. => <n>
        + **<n> <unit>** => <n> <unitw>
        + $<n>$ <unitw> => <n>
        + <n> <noun1> => <n> <noun>
        + <n>° => <n>
        + <n>\mathrm{ <unit>} => <n>
        + (<n> <unit>) => <n>
        - <n> <unit2w> => <n> <unit>
        - <n>\text{ <unit2>} => <n> <unitw>
        - <m> <noun> => <n> <noun>
        - <n> old <noun> => <n> new <noun>
        - <n> °C => <n> °F
        - <dec> <unit> => <decint> <unit>
    """,
    "area": r"""
        + <n> cubic <lenw> => <n> <len>^3
        + <n> sq <len> => <n>
        + $<n>$ <len>$^2$ => <n>
        + The <thing> of the box is <n> cubic <lenw>. => <n>
        + <k>\pi <len> => <k>\pi
        + <n>\mathrm{ <len>}^2 => <n> <len>^2
        + <k>\sqrt{<root>}\text{ <len>} => <k>\sqrt{<root>}
        - <n> cubic <lenw> => <n> square <lenw>
        - <m> <len>^2 => <n> <len>^2
        - <k>\sqrt{<root>} <len> => <k>
        - <n> <len>^3 => <n> <lenw>
        - <n>^3 => <n>
        - <n> <len2>^3 => <n> <len>^3
    """,
    "currency": r"""
        + Rs. <n> => <n>
        + Rs <bigc> => <big>
        + <cur> <n> => <n>
        + £<dec0> => <dec>
        + \pounds <n> => <n>
        + US$<n> => <n>
        + <n> euros => €<n>
        + <cur><n> in total => <n>
        - Rs. <n> => $<n>
        - <n> cents => <n> dollars
        - <n> <curw2> => <n> <curw>
        - <cur><n> to <cur><m> => <n>
        - <cur><n>.5 => <cur><n>
        - €<n> or €<m> => <n>
        - £<n> => <n> pence
    """,
    "thousands": r"""
        + <bigth> => <big>
        + <bigq> => <big>
        + $<bigc>$ => <big>
        + <bigc> <unitw> => <big>
        + <eu> => <usdec>
        + The <thing> is <bigc>. => <big>
        - <bigs> => <bigless>
        - <bigt> => <big2>
        - <bigc>,000 => <big>
        - -<bigc> => <big>
        - <bigc> or <big2> => <big>
    """,
    "percent": r"""
        + <pc> per cent => <pc>
        + <pc> % => <pc>%
        + <pcup>\% => <pcup>%
        + **<pc>%** => <pc>
        + <pc>％ => <pc>%
        + $<pc>\%$ => <pcdec>
        + <pc>% of the <noun> => <pc>
        - <pc2> percent => <pc>
        - 1<pc>% => <pc>%
        - -<pc>% => <pc>%
        - <pc>% to <pc2>% => <pc>
        - <pcdec>% => <pc>%
        - less than <pc> percent => <pc>
        - <pc>% of <n> => <pc>
    """,
    "fractions": r"""
        + $\frac{<p>}{<q>}$ => <fdec>
        + \cfrac{<p>}{<q>} => <p>/<q>
        + \frac{-<p>}{<q>} => -<p>/<q>
        + <p>⁄<q> => <p>/<q>
        + ½ => 0.5
        + ¾ => 3/4
        + \frac{-<p>}{-<q>} => <p>/<q>
        + \frac{<cp>}{<cq>} => <fdec>
        + <p>/<q> of the <noun> => <p>/<q>
        + The probability is \frac{<p>}{<q>}. => <p>/<q>
        + <r>/<t> => \dfrac{<r>}{<t>}
        - ½ => 2
        - ½ => 1
        - \frac{1}{<q>} => <p>/<q>
        - <cp>/<q> => <p>/<q>
        - -\frac{<p>}{-<q>} => -<p>/<q>
        - \frac{<p>}{<q>}x => <p>/<q>
        - <p>⁄<q> => <p>
        - <r>/<t> => <rdec2>
        - \frac{<p>}{<q>^2} => \frac{<p>}{<q>}
        - <p>/<q> or <q>/<p> => <p>/<q>
    """,
    "mixed": r"""
        + <w>\tfrac{<p>}{<q>} => <w> <p>/<q>
        + \boxed{<w>\frac{<p>}{<q>}} => <mdec>
        + <w> <p>/<q> cups => <mdec>
        + <imp>/<q> => <w>\frac{<p>}{<q>}
        + <ww> and <pw> <qws> => <mdec>
        + The answer is <w> <p>/<q>. => <imp>/<q>
        - <w> <p>/<q> cups => <p>/<q>
        - <ww> and <pw> <qws> => <w>
        - <imp>/<q2> => <w>\frac{<p>}{<q>}
        - <w> <p>/<q> => -<imp>/<q>
        - <w>.<p> => <w>\frac{<p>}{<q>}
    """,
    "latex": r"""
        + \[<n>\] => <n>
        + $$<n>$$ => <n>
        + \boxed{\text{<n>}} => <n>
        + \mathbf{<n>} => <n>
        + \frac{\pi}{<k>} => $\frac{\pi}{<k>}$
        + <n>\text{ <noun>} => <n>
        + $\displaystyle <n>$ => <n>
        + \boxed{<k> + <j>\sqrt{<root>}} => <k>+<j>\sqrt{<root>}
        + \sqrt[3]{<root>} => $\sqrt[3]{<root>}$
        - \sqrt[3]{<n>} => \sqrt{<n>}
        - \frac{\pi}{<k>} => \frac{\pi}{<j>}
        - \frac{\pi}{<k>} => <k>
        - <k> - <j>\sqrt{<root>} => <k> + <j>\sqrt{<root>}
        - e^{<n>} => <n>
        - <n>i => <n>
        - \pm <n> => <n>
        - <k> - \frac{1}{e} => <k> + \frac{1}{e}
        - \boxed{<n>} or \boxed{<m>} => <n>
        - $$<m>$$ => <n>
        - <k>\sqrt{<root>} => <k>
    """,
    "powers": r"""
        + <sci> × 10^<pow> => <scival>
        + <sci> x 10^{<pow>} => <scival>
        + <k> \cdot 10^{<pow>} => <kten>
        + <sci>E<pow> => <scival>
        + 10⁶ => 1000000
        + 3^<e> => 3^{<e>}
        + \boxed{\frac{1}{<e>!}} => \frac{1}{<e>!}
        + <k> \times 10^{-<pow>} => <scismall>
        - \frac{1}{<e>!} => \frac{1}{<e2>!}
        - 3^{<e>} => 3^{<e2>}
        - 2^{-<e>} => 2^{<e>}
        - <sci> × 10^<pow> => <sci>
        - <k> \cdot 10^{<pow2>} => <kten>
        - 10⁶ => 106
        - \frac{<k>}{3^{<e>}} => \frac{<j>}{3^{<e>}}
        - <k>e-<pow> => <kten>
    """,
    "repeating": r"""
        + 0.<reprep>\ldots => <repnum>/<repden>
        + 0.<reprep>… => <repnum>/<repden>
        + <w>.\overline{<rep>} => <repw>/<repden>
        + 0.(<rep>) => 0.\overline{<rep>}
        + The answer is $0.\overline{<rep>}$. => \frac{<repnum>}{<repden>}
        - <w>.\overline{<rep>} => <repnum>/<repden>
        - 0.0\overline{<rep>} => <repnum>/<repden>
        - 0.\overline{<rep>} => 0.<rep><rep>
        - 0.\overline{<rep>} => <repden>/<repnum>
    """,
    "negative": r"""
        + negative <nw> => -<n>
        + –<n> => -<n>
        + $-<n>$ => -<n>
        + minus <dec> => -<dec>
        + -<n> <unitw> => -<n>
        + The answer is negative <n>. => -<n>
        + The <thing> is minus <n>. => -<n>
        - negative <p>/<q> => <p>/<q>
        - The answer is negative <n>. => <n>
        - -(-<n>) => -<n>
        - <n> below zero => <n>
        - –<n> => <n>
        - minus <n> <unitw> => <n>
    """,
    "words": r"""
        + <nand> <noun> => <n>
        + <Nw>. => <n>
        + **<nw>** => <n>
        + a million => 1000000
        + one hundred and <kw> => <hundk>
        + <kw> hundred and <jw> => <hundj>
        + <bigw> <unitw> => <big>
        + zero => 0
        + <name> <verb> <nw> <noun>. => <n>
        - fifty => 15
        - sixteen => 60
        - a thousand => 1
        - <kw> hundred and <jw> => <hund>
        - <kw> million => <k>
        - <nand> => <m>
        - <name> <verb> <mw> <noun>. => <n>
        - <nw> or <mw> => <n>
    """,
    "fraction_words": r"""
        + a half => 1/2
        + two-thirds => 2/3
        + one and a half => 3/2
        + <pw>-<qws> => <fdec>
        + <pw> <qws> of the <noun> => <p>/<q>
        + <w> and <pw> <qws> => <mdec>
        + half a dozen => 6
        - two-thirds => 2
        - <k> halves => <k>
        - <n> hundredths => <n>
        - half a dozen => 12
        - one out of <n> => <n>
        - one and a half => 1
        - a fifth of <n> => <n>
        - half as many as <n> => <n>
        - <pw>-<qws> => <q>
        - two thirds of the <n> <noun> => <n>
    """,
    "scale": r"""
        + <kw> million => <mil>
        + <dec> thousand => <decthou>
        + <k> million dollars => <mil>
        + half a million => 500000
        + £<dec> million => <decmil>
        + two dozen => 24
        + <n> thousand <noun> => <thou>
        - <k> lakhs => <k>
        - <k>M => <k>
        - <k> billion => <mil>
        - <k> billion dollars => <k>
        - <k> millionths => <k>
        - £<n>K => <n>
        - two dozen => 2
        - <n> thousand <noun> => <n>
        - Rs. <k> crores => <k>
    """,
    "inequality": r"""
        + <var> \leqslant <n> => <var> \leq <n>
        + $<var> \ge <n>$ => <var> \geq <n>
        + <var>><n> => <var> > <n>
        + <var> ≤ <n> => <var> \le <n>
        + The solution is $<var> \geq <n>$. => <var> \geq <n>
        + -<u> \leq <var> \leq <v> => -<u> \le <var> \le <v>
        - no more than <n> => <n>
        - up to <n> <noun> => <n>
        - a minimum of <n> => <n>
        - under <n> => <n>
        - just over <n> => <n>
        - beyond <n> => <n>
        - it exceeds <n> => <n>
        - <n> or fewer => <n>
        - <n>+ => <n>
        - ≥ <n> => <n>
        - <var> \ge <n> => <var> \le <n>
        - <u> < <var> < <v> => <u> < <var> \leq <v>
        - not less than <nw> => <n>
    """,
    "negation": r"""
        + There is no solution. => no solution
        + So it is <n>. => <n>
        + It must be <n>. => <n>
        + not enough information => Not enough information.
        - <n> is wrong => <n>
        - It cannot be <n>. => <n>
        - other than <n> => <n>
        - neither <n> nor <m> => <n>
        - definitely not <n> => <n>
        - instead of <n> => <n>
        - The <thing> isn't <n>. => <n>
        - no <noun>, not <n> => <n>
        - the wrong answer is <n> => <n>
        - all numbers except <n> => <n>
    """,
    "functions": r"""
        + Half of <even> = <n> => <n>
        + <k> cubed = <kcube> => <kcube>
        + The difference is <n> <unitw>. => <n>
        + The product is <n>. => <n>
        + The cube root equals <k>. => <k>
        - double <n> => <n>
        - triple the <n> => <n>
        - <n> cubed => <n>
        - <k> factorial => <k>
        - the reciprocal of <n> => <n>
        - the square root of <n> => <n>
        - a factor of <n> => <n>
        - <n> less than <var> => <n>
        - <n> mod <k> => <n>
        - the sum of <n> and <var> => <n>
        - <n>/<var> => <n>
        - f(<n>) => <n>
        - \log <n> => <n>
        - <var>_{<k>} => <k>
        - one less than <n> => <n>
        - <n> multiplied by <var> => <n>
        - multiples of <n> => <n>
    """,
    "equations": r"""
        + \boxed{<var> = <n>} => <n>
        + So <var> equals <n>. => <n>
        + $<var> = \frac{<p>}{<q>}$ => \frac{<p>}{<q>}
        + The equation of the line is y = <k>x + <j>. => y = <k>x + <j>
        + <var> = <n>, <var2> = <m> => <var2> = <m>, <var> = <n>
        + <var> = <dec> <unitw> => <dec>
        + <var>=-<n> => -<n>
        - <var> > <n> => <var> = <n>
        - <var><var2> = <n> => <n>
        - \sqrt{<var>} = <n> => <n>
        - <var>/<k> = <n> => <n>
        - -<var> = <n> => <n>
        - <var> = <n><var2> => <n>
        - <var> = <n> + <var2> => <n>
        - <var> = <m>, <var2> = <n> => <var> = <n>, <var2> = <m>
        - y = <k>x^2 + <j> => y = <k>x + <j>
        - <var> = <n>, <var2> = <m> => <n>
    """,
    "working": r"""
        + <a> − <b> = <diff> => <diff>
        + <a> \times <b> = <prod> => <prod>
        + $<a> \times <b> = <prod>$ => <prod>
        + So <a> + <b> = <sum> <noun>. => <sum>
        + Total = <n> => <n>
        + <even> / 2 = <n> => <n>
        + <even> ÷ 2 = <n> <noun> => <n>
        + <prod> / <b> = <a> => <a>
        + \frac{1}{2} \times <even> = <n> => <n>
        + The <thing> is <a> + <b> = <sum>. => <sum>
        + <a> <unitw> - <b> <unitw> = <diff> <unitw> => <diff>
        + Hence <var> = <a> + <b> = <sum> => <sum>
        + Answer: m+n = <a>+<b> = <sum> => <sum>
        + <a>*<b>=**<prod>** => <prod>
        - <a> − <b> = <diff> => <a>
        - <prod> / <b> = <a> => <prod>
        - <a> + <b> = <sum> and <a> - <b> = <diff> => <sum>
        - \frac{1}{2} \times <even> = <n> => <even>
        - <var> + <a> = <sum> => <sum>
        - <a> + <b> > <sum> => <sum>
        - <even> ÷ 2 = <n> => 2
        - The <thing> is <a> + <b> = <sum>. => <a>
        - Hence <var> = <a> + <b> = <sum> => <b>
    """,
    "sentences": r"""
        + <name> <verb> <n> <noun> altogether. => <n>
        + They will need <n> <noun> for the party. => <n>
        + Each child gets <n> <noun>. => <n>
        + So, there were <n> <noun> in the box. => <n>
        + Thus the <thing> equals <n> <unitw>. => <n>
        + That is <n> <noun>. => <n>
        + <she> spent £<n> on food. => <n>
        + It would take her <n> days. => <n>
        + The <thing> is <n> <unitw>, altogether. => <n>
        + This means that <n> <noun> remain. => <n>
        + <name> can buy <n> <noun> with the money. => <n>
        + The <thing> was <dec> <unitw>. => <dec>
        - all but <n> <noun> => <n>
        - <name> wanted <n> <noun> but got <m>. => <n>
        - the <n> <noun> cost <cur><m> => <n>
        - twice as many as <n> <noun> => <n>
        - Nobody saw <n> <noun>. => <n>
        - a third of the <n> <noun> => <n>
        - <k> out of <n> <noun> => <n>
        - Is it <n>? => <n>
        - <name> has at least <n> <noun>. => <n>
        - Covid-<n> => <n>
        - Each of the <n> <noun> costs <cur><m>. => <n>
        - The <thing> was <m> <unitw>. => <n>
        - <she> has <n> <noun>, or <m> if you count the <noun2>. => <n>
    """,
    "phrases": r"""
        + Hence, the answer is <n>. => <n>
        + My final answer is <n>. => <n>
        + Answer = <n> => <n>
        + The result is <n>. => <n>
        + ANSWER: <n> => <n>
        + The correct answer is <n>. => <n>
        + <n> is the answer. => <n>
        + Ans: <n> => <n>
        + The answer is $<n>$ <noun>. => <n>
        + Final answer: \boxed{<n>} => <n>
        - The correct answer is not <n>. => <n>
        - The result is <n> or <m>. => <n>
        - The answer is half of <n>. => <n>
        - My final answer is <m>. => <n>
        - The answer is at most <n>. => <n>
        - Ans: <n>, <m> => <n>
    """,
    "ranges": r"""
        + from <u> to <v> => from <u> to <v>
        + $<u>-<v>$ => <u>-<v>
        + <u> - <v> <noun> => <u>-<v>
        + **<u>–<v>** => <u>-<v>
        - <u>~<v> => <v>
        - anywhere from <u> to <v> => <u>
        - <v>-<u> => <u>-<v>
        - <u> through <v> => <v>
        - <u>-<v> <unitw> => <v>
    """,
    "times": r"""
        + at <h>:<min> am => <h>:<min> am
        + <h>:<min> A.M. => <h>:<min> AM
        + **<h>:<min>** => <h>:<min>
        + The answer is <h>:<min> p.m. => <h>:<min> pm
        + <h2> hrs <min> mins => <h2> hours <min> minutes
        + <h2> hours, <min> minutes => <h2> hours <min> minutes
        - <h2>:<min> p.m. => <h>:<min> p.m.
        - <h2> minutes <min> seconds => <h2> hours <min> minutes
        - around <h>:<min> pm => <h>:<min> pm
        - before <h>:<min> am => <h>:<min> am
        - <h2> hrs <min2> mins => <h2> hours <min> minutes
        - <h2> hours <min> minutes => <min> minutes
        - <h>:<min> am or <h2>:<min> am => <h>:<min> am
    """,
    "dates": r"""
        + on <month> <day>, <yr> => <month> <day>, <yr>
        + <mon> <day>, <yr> => <month> <day>, <yr>
        + the year <yr> => <yr>
        + <yr>-07-<date2> => <yr>-07-<date2>
        + <month> <day> <yr> => <month> <day>, <yr>
        - <yr>s => <yr>
        - after <yr> => <yr>
        - <month> <yr> => <month> <day>, <yr>
        - <yr>-07-<date2> => <yr>-08-<date2>
        - <mon> <day2>, <yr> => <month> <day>, <yr>
        - <yr> BC => <yr>
        - <month> <day> => <month2> <day>
    """,
    "ratios": r"""
        + <u> to <v> => <u>:<v>
        + \(<u>:<v>\) => <u>:<v>
        + The answer is <u>:<v>. => <u>:<v>
        + <u>：<v> => <u>:<v>
        - <u> to <v> => <v>:<u>
        - <u>:<z> => <u>:<v>
        - <u>:<v> or <v>:<u> => <u>:<v>
        - <u>:<v> => <u>
    """,
    "lists": r"""
        + <u>, <v>, and <z> => <u>, <v>, <z>
        + $<u>$ and $<v>$ => <u>, <v>
        + $\{<v>,<u>\}$ => \{<u>, <v>\}
        + **<u>, <v>, <z>** => <u>, <v>, <z>
        + \boxed{<u>, <v>} => <u>,<v>
        + \boxed{<u> \text{ and } <v>} => <u>, <v>
        + {<v>, <u>} => {<u>, <v>}
        - <u>, <z>, and <v> => <u>, <v>, <z>
        - \{<u>\} => \{<u>, <v>\}
        - <uplus>, <v>, <z> => <u>, <v>, <z>
        - <u>, <u> => <u>, <v>
        - n = <u>, <v> => n = <u>, <z>
        - \{<u>, <v>, <z>\} => \{<u>, <v>\}
        - \{<u>, <v>\} => \{<u>, <z>\}
        - <u>, <v> and <z> => <z>
    """,
    "intervals": r"""
        + \boxed{(<u>,<v>)} => (<u>, <v>)
        + \((<u>, <v>, <z>)\) => (<u>,<v>,<z>)
        + (-\infty, <u>) \cup (<v>, \infty) => (-\infty,<u>)\cup(<v>,\infty)
        + The coordinates are (<u>, -<v>). => (<u>, -<v>)
        + x \in [<u>, <v>] => [<u>, <v>]
        + **[<u>, <v>)** => [<u>,<v>)
        + (x, y) = (<u>, <v>) => (<u>, <v>)
        - (<u>, <v>) => [<u>, <v>]
        - (-\infty, <u>) => (<u>, \infty)
        - (<u>, -<v>) => (<u>, <v>)
        - (<u>, <z>) => (<u>, <v>)
        - (-\infty, <u>) \cup (<v>, \infty) => (-\infty, <u>] \cup (<v>, \infty)
        - (<u>, <v>) => <v>
        - (<u>, <v>) or (<v>, <u>) => (<u>, <v>)
    """,
    "bases": r"""
        + $<oct>_{8}$ => <oct>_8
        + The answer is <bin>_2. => <bin>_2
        + \(<bin>_{2}\) => <bin>_2
        - <bin>_{2} => <bin>
        - <oct>_{8} => <oct>_{16}
        - <bin>_4 => <bin>_{2}
    """,
    "brackets": r"""
        + **<dy>** => <dy>
        + "<dy>" => <dy>
        + So the answer is <dy>. => <dy>
        + Answer: <dy> => <dy>
        - <dy> or <dyswap> => <dy>
        - The answer is <dyless> => <dy>
        - <dyopen> <dy> => <dy>
        - none => <dy>
    """,
    "yesno": r"""
        + [<yes>] => <yes>
        + <Yes>! => <yes>
        + <Yes>; <clause> => <yes>
        + <Yes>: <clause> => <yes>
        + __<Yes>__ => <yes>
        + “<Yes>” => <yes>
        + <Yes> (<clause>) => <yes>
        + <Yes> – <clause> => <yes>
        + So the answer is <yes>. => <yes>
        + Answer: <Yes> => <yes>
        + \boxed{\text{<Yes>}} => <yes>
        + `<yes>` => <yes>
        + <True>. => <yes>
        + <YES>. => <True>
        + **<Yes>.** => <yes>
        - [<no>] => <yes>
        - <No>: <clause> => <yes>
        - Possibly <yes> => <yes>
        - <yes>/<no> => <yes>
        - It depends => <yes>
        - <False>. => <yes>
        - So the answer is <no>. => <yes>
        - \boxed{\text{<No>}} => <yes>
        - either <yes> or <no> => <yes>
        - Yesterday => yes
        - Nobody knows => no
        - Notably, it is => no
        - unknown => <yes>
        - “<No>” => <yes>
    """,
    "entailment": r"""
        + [<ent>] => <ent>
        + <entN> => <ent>
        + The premise <entl> the hypothesis. => <ent>
        + Answer: <ent> => <ent>
        + '<entl>' => <ent>
        + *<entn>* => <ent>
        - [<ent2>] => <ent>
        - The premise <ent2l> the hypothesis. => <ent>
        - Answer: <ent2> => <ent>
        - either <entl> or <ent2l> => <ent>
        - no <entn> => <ent>
        - possibly <entl> => <ent>
    """,
    "choice": r"""
        + The answer is option <L> => <L>
        + [<L>] => <L>
        + Answer: <L> => <L>
        + Correct answer: <L> => <L>
        + It's <L>. => <L>
        + Option <L>: <TL> => <L>
        + <L> is the right answer. => <L>
        + My answer is <L>. => <L>
        + The best choice is (<L>). => <L>
        + the answer is <TL> => <L>
        + So the answer is (<L>). => <L>
        + $\boxed{<L>}$ => <L>
        + <L> — <TL> => <L>
        + choice <L> => <L>
        + **<TL>** => <L>
        + **<L>. <TL>** => <L>
        + I would go with <L>. => <L>
        + ANSWER: **<L>** => <L>
        + ANSWER: $<L>$ => <L>
        + ANSWER: <l_> => <L>
        + The answer is <L> because it fits best. => <L>
        + <TL>. => <L>
        + (<L>) <TL> => <L>
        + <TL> (<L>) => <L>
        + (<L>) => <TL>
        + The answer is <L>. => <TL>
        - The answer is option <W> => <L>
        - [<W>] => <L>
        - neither <L> nor <W> => <L>
        - <L> is wrong. => <L>
        - <TW> (<W>) => <L>
        - the answer is <TW> => <L>
        - not <L> but <W> => <L>
        - anything but <L> => <L>
        - <L> or <W>, I am not sure => <L>
        - Option <L>: <TW> => <L>
        - <L> (<TW>) => <L>
        - I don't know => <L>
        - <L><W> => <L>
        - **<W>. <TW>** => <L>
        - It's not <L>. => <L>
        - Both <L> and <W> are correct. => <L>
        - $\boxed{<W>}$ => <L>
        - <L>/<W> => <L>
        - (<W>) => <TL>
        - <TW> => <TL>
        - I would rule out <L>. => <L>
        - The answer seems to be <L> or <W>. => <L>
        - ANSWER: **<W>** => <L>
    """,
    "letters": r"""
        + Answer: <L> => <L>
        + [<L>] => <L>
        + Correct answer: <L> => <L>
        + $\boxed{\text{<L>}}$ => <L>
        - Answer: <W> => <L>
        - neither <L> nor <W> => <L>
        - <L>, <W> => <L>
        - An apple => A
        - Because => B
        - Cats => C
    """,
    "chinese": r"""
        + 答案为<n> => <n>
        + 所以答案是<n>。 => <n>
        + 还剩<n><cunit> => <n>
        + 答：一共<n><cunit>。 => <n>
        + 结果是<n> => <n>
        + 故答案为：<n> => <n>
        + **<n><cunit>** => <n>
        + <nfull><cunit> => <n>
        + 一共有<n>个<cnoun>。 => <n>
        - 多于<n> => <n>
        - 不到<n><cunit> => <n>
        - 约<n> => <n>
        - <n>的一半 => <n>
        - 负<n> => <n>
        - <n>和<m> => <n>
        - <k>亿 => <k>
        - 可能是<n> => <n>
        - 超过<n><cunit> => <n>
        - 答案为<m> => <n>
    """,
    "choice_chinese": r"""
        + 应选<L> => <L>
        + 选择<L> => <L>
        + 正确答案是<L> => <L>
        + 故选：<L>。 => <L>
        + 选项<L> => <L>
        + 本题选<L> => <L>
        - 选项<W> => <L>
        - 故选<L>和<W> => <L>
        - 不是<L> => <L>
        - <L>错误 => <L>
        - 除了<L> => <L>
        - 正确答案是<W> => <L>
    """,
    "european": r"""
        + La respuesta es <n>. => <n>
        + Lösung: <n> => <n>
        + Il reste <n> pommes. => <n>
        + Quedan <n> manzanas. => <n>
        + <n> heures => <n>
        + Resultado: <n> => <n>
        + Es sind <n> Äpfel. => <n>
        + <n> Stück => <n>
        - La respuesta no es <n>. => <n>
        - mehr als <n> => <n>
        - menos de <n> => <n>
        - plus de <n> pommes => <n>
        - ungefähr <n> => <n>
        - <n> ou <m> => <n>
        - mindestens <n> => <n>
        - Lösung: <m> => <n>
    """,
    "markdown": r"""
        + ***<n>*** => <n>
        + __<n>__ => <n>
        + **Answer**: <n> => <n>
        + **The answer is <n>.** => <n>
        + **<n> <unitw>** => <n>
        - **at least <n>** => <n>
        - **The answer is <m>.** => <n>
        - *not* <n> => <n>
        - __<m>__ => <n>
    """,
    "hedges": r"""
        + The answer is precisely <n>. => <n>
        + exactly <n> <unitw> => <n>
        + Of course, the answer is <n>. => <n>
        - perhaps <n> => <n>
        - It might be <n>. => <n>
        - It could be <n> or <m>. => <n>
        - roughly <n> <noun> => <n>
        - <n> or so => <n>
        - nearly <n> <unitw> => <n>
        - possibly <n> => <n>
        - somewhere near <n> => <n>
        - I guess <n>, but I am not certain => <n>
    """,
    "two_numbers": r"""
        + <Nw> (<n>) => <n>
        + <n> (<nw> <noun>) => <n>
        + <nw> = <n> => <n>
        - <n> & <m> => <n>
        - <n> vs <m> => <n>
        - <nw> and <mw> => <n>
        - <n> + <m> => <n>
        - <n>, then <m> => <m>
        - <n> <noun>, <m> <noun2> => <n>
        - <n> (<mw>) => <n>
    """,
    "empty": r"""
        + ⏎␣⏎<n> => <n>
        + <n>⏎⏎ => <n>
        + <n>⏎### User:⏎Next => <n>
        - ␣ => <n>
        - \text{} => <n>
        - **** => <n>
        - Answer: => <n>
        - #### => <n>
        - unknown => <n>
        - no answer => <n>
        - undefined => <n>
        - ? => <n>
    """,
    "texts": r"""
        + <TEXT> => <text>
        + It is <text>. => <text>
        + `<text>` => <text>
        + \text{<text>} => <text>
        + So the answer is the <text>. => <text>
        - neither <text> nor <text2> => <text>
        - <text2>, not <text> => <text>
        - maybe <text> => <text>
        - anything but <text> => <text>
        - The answer is <text2>. => <text>
    """,
}
