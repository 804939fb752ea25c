"""Third split of the generated answer lines: no template, word or option is shared with the two others.

Its labels were final before the checker was first run on it. Most of its sentences are like those that models and
GSM8K's writers end an answer with. Not to be tuned against: once its faults have been read, it is a development split.
"""

from tests.answers.lines import Line, Tables, Vocabulary, dev, generate
from tests.answers.lines_heldout import heldout


def fresh(seed: int = 0) -> list[Line]:
    """Draw the fresh split; a line that dev() or heldout() has is left out."""
    seen = {line[:3] for line in (*dev(), *heldout())}
    return [line for line in generate((FRESH,), VOCABULARY, f"fresh {seed}") if line[:3] not in seen]


STYLES = [
    "\n|{0}. {2}",
    "\n|({0}) {2}",
    "\n\n|{0}) {2}",
    "\n|* {0}) {2}",
    "\n|**{0})** {2}",
    "\n|- ({0}) {2}",
    "\n|{1}. {2}",
    "\n\n|{0}: {2}",
    "\n|{0}.{2}",
    "   |{0}. {2}",
]

VOCABULARY: Vocabulary = {
    "unit unitw unit2 unit2w": [
        ("kW", "kilowatts", "V", "volts"),
        ("mg", "milligrams", "tonnes", "tonnes"),
        ("pints", "pints", "quarts", "quarts"),
        ("days", "days", "weeks", "weeks"),
        ("acres", "acres", "hectares", "hectares"),
        ("kWh", "kilowatt-hours", "MJ", "megajoules"),
        ("TB", "terabytes", "KB", "kilobytes"),
    ],
    "len lenw len2": [("in", "inches", "dm"), ("mi", "miles", "in"), ("dm", "decimeters", "mi")],
    "noun noun1 noun2": [
        ("stamps", "stamp", "postcards"),
        ("roses", "rose", "tulips"),
        ("passengers", "passenger", "drivers"),
        ("pizzas", "pizza", "burgers"),
        ("ducks", "duck", "geese"),
        ("candles", "candle", "lamps"),
        ("employees", "employee", "managers"),
        ("seashells", "seashell", "pebbles"),
        ("toy cars", "toy car", "dolls"),
    ],
    "name she name2": [
        ("Carlos", "He", "Mia"),
        ("Mia", "She", "Liam"),
        ("Mr. Johnson", "He", "Priya"),
        ("Priya", "She", "Carlos"),
        ("Kwame", "He", "Grandma Rose"),
        ("Aunt Clara", "She", "Kwame"),
        ("Dr. Patel", "She", "Liam"),
        ("Liam", "He", "Fatima"),
    ],
    "cur curw cur2 curw2": [
        ("$", "dollars", "£", "pounds"),
        ("€", "euros", "$", "dollars"),
        ("₹", "rupees", "$", "dollars"),
        ("$", "dollars", "₹", "rupees"),
    ],
    "verb": [
        ("picked",),
        ("delivered",),
        ("owns",),
        ("used",),
        ("gave away",),
        ("brought",),
        ("lost",),
        ("ordered",),
        ("will get",),
        ("is going to need",),
    ],
    "place": [
        ("at the market",),
        ("on the farm",),
        ("in the garage",),
        ("in the city of Lyon",),
        ("at her school",),
        ("on the top shelf",),
    ],
    "when": [("this year",), ("per week",), ("every day",), ("last month",), ("in the morning",), ("yesterday",)],
    "city": [("Chicago",), ("Tokyo",), ("San Diego",), ("Berlin",)],
    "weekday weekday2": [("Monday", "Friday"), ("Thursday", "Tuesday"), ("Saturday", "Sunday")],
    "var var2": [("t", "w"), ("p", "v"), ("w", "t"), ("v", "x")],
    "thing": [
        ("length of the fence",),
        ("mean",),
        ("speed of the train",),
        ("remaining amount",),
        ("price of the bike",),
        ("height of the tower",),
        ("total number of votes",),
        ("circumference",),
    ],
    "yes no Yes No YES true false True False clause": [
        ("yes", "no", "Yes", "No", "YES", "true", "false", "True", "False", "penguins can swim"),
        ("no", "yes", "No", "Yes", "NO", "false", "true", "False", "True", "penguins cannot fly"),
        ("yes", "no", "Yes", "No", "YES", "true", "false", "True", "False", "both were French"),
        ("no", "yes", "No", "Yes", "NO", "false", "true", "False", "True", "the film came first"),
    ],
    "ent ent2 entl ent2l entN": [
        ("Entailment", "Contradiction", "entailment", "contradiction", "ENTAILMENT"),
        ("Contradiction", "Entailment", "contradiction", "entailment", "CONTRADICTION"),
        ("Neutral", "Contradiction", "neutral", "contradiction", "NEUTRAL"),
        ("Entailment", "Neutral", "entailment", "neutral", "ENTAILMENT"),
    ],
    "text text2 tlow": [
        ("Jupiter", "Saturn", "jupiter"),
        ("Oxygen", "Nitrogen", "oxygen"),
        ("William Shakespeare", "Charles Dickens", "william shakespeare"),
        ("Democracy", "Monarchy", "democracy"),
        ("Evaporation", "Condensation", "evaporation"),
    ],
    "month mon month2": [
        ("February", "Feb", "April"),
        ("June", "Jun", "September"),
        ("August", "Aug", "February"),
        ("November", "Nov", "March"),
        ("January", "Jan", "October"),
    ],
    "cunit cunit2": [("小时", "天"), ("页", "本"), ("斤", "吨"), ("棵", "只"), ("天", "周")],
    "cmeas cnoun": [("本", "书"), ("只", "兔子"), ("辆", "汽车"), ("朵", "花")],
    "options": [
        ("8 kg|10 kg|12 kg|14 kg",),
        ("45°|60°|90°|120°",),
        ("Venus|Mars|Jupiter|Neptune",),
        ("D. melanogaster|C. elegans|M. musculus|A. thaliana",),
        ("It evaporates|It freezes|It melts|It condenses",),
        ("Only I|Only II|Both I and II|Neither I nor II",),
        ("$1,200|$1,350|$1,500|$1,750|$1,900",),
        ("0.25|0.5|0.75|1.25",),
    ],
}

FRESH: Tables = {
    "plain": r"""
        + <n>.0000 => <n>
        + +<dec> => <dec>
        + 0<n>.0 => <n>
        + <n>.0 => <n>.00
        + '<n>' => <n>
        + <n> . => <n>
        - <n>1 => <n>
        - 2<n> => <n>
        - .<n> => <n>
        - <n>.05 => <n>
        - -<dec> => <dec>
        - <dec>1 => <dec>
        - <decint>.0 => <dec>
        - +<m> => <n>
    """,
    "units": r"""
        + <n> <unit>. => <n>
        + <n><unit> => <n> <unitw>
        + \text{<n> <unitw>} => <n>
        + <n>~\text{<unit>} => <n> <unit>
        + <dec> <unit> => <dec>
        + <n> <noun> => <n> <noun1>
        + <n> years => <n>
        + <n>\ \text{<unit>} => <n>
        + $<n>\text{ <unitw>}$ => <n>
        + **<n>** <unitw> => <n>
        - <n> <unit2> => <n> <unit>
        - <n> <unit2w> => <n> <unitw>
        - $<n>\text{ <unit2>}$ => <n>\text{ <unit>}
        - <n> full <noun> => <n> empty <noun>
        - <n> <noun2> => <n> <noun>
        - <m> <unitw> => <n> <unitw>
        - <dec2> <unitw> => <dec> <unit>
        - <n> years => <n> months
        - <n>° => <n> radians
        - -<n> <unit> => <n> <unit>
    """,
    "area": r"""
        + <n> square <lenw>. => <n>
        + <n> sq. <len> => <n>
        + <n> <len>^{2} => <n> square <lenw>
        + \boxed{<n>\text{ <len>}^2} => <n>
        + Its surface is <n> square <lenw>. => <n>
        + <k>\pi square <lenw> => <k>\pi
        + <n> cubic <lenw>. => <n> <len>^3
        + <n> <len>³ => <n>
        - <n> square <lenw> => <n> cubic <lenw>
        - <n> <len>² => <n> <len>³
        - <k>\pi square <lenw> => <k>
        - <k>^2 square <lenw> => <k>
        - <m> square <lenw> => <n> square <lenw>
        - <n> <len>³ => <n> <len>
        - <n> square <lenw> => <n> <len2>^2
    """,
    "currency": r"""
        + <cur><n>. => <n>
        + \$<n>.00 => <n>
        + $<n>.00 => $<n>
        + <n> USD => <n>
        + <cur><bigc>.00 => <big>
        + <n> <curw>. => <n>
        + EUR <n> => €<n>
        + <cur><n> left => <n>
        + <cur><n> per week => <n>
        + **<cur><n>** => <cur><n>
        + <dec> <curw> => <cur><dec>
        + The total bill comes to <cur><n>. => <n>
        - <cur2><n> => <cur><n>
        - <n> <curw> => <cur2><n>
        - -<cur><n> => <cur><n>
        - <cur><m> per day => <n>
        - <cur><n> + <cur><m> => <n>
        - less than <cur><n> => <n>
        - <cur><n> thousand => <n>
        - <n> cents => $<n>
        - <cur><n> off <cur><m> => <n>
        - <cur><dec2> => <cur><dec>
    """,
    "thousands": r"""
        + <bigc>. => <big>
        + \$<bigc> => <big>
        + <bigt> <noun> => <big>
        + <bigc> => <bigs>
        + $<usdec> => <eudec>
        + <bigs> <noun> => <big>
        + The population of <city> is <bigc>. => <big>
        + **<bigc>** => <big>
        - <bigc> => <bigless>
        - <bigbad> <noun> => <big>
        - <bigc>.5 => <big>
        - 9<bigc> => <big>
        - <big2> <noun> => <big>
        - -<big> => <bigc>
        - The population of <city> is over <bigc>. => <big>
    """,
    "percent": r"""
        + <pc> percent. => <pc>
        + <pc>\% => <pcdec>
        + \boxed{<pc>\%} => <pc>%
        + <pcup> percent => <pcup>%
        + The increase is <pc>%. => <pc>
        + <pc>% of <noun> were sold => <pc>
        + <pc> => <pc> percent
        + So the discount is <pc> percent. => <pc>%
        - <pc>.5 percent => <pc>%
        - <pc2> % => <pc>
        - -<pc> percent => <pc>%
        - up to <pc>% => <pc>
        - <pc>% of <cur><n> => <n>
        - either <pc>% or <pc2>% => <pc>
        - <pc> basis points => <pc>%
        - not <pc>% => <pc>
        - <pc>% less than <n> => <n>
        - <pc>‰ => <pc>%
    """,
    "fractions": r"""
        + $<p>/<q>$ => \frac{<p>}{<q>}
        + \boxed{<p>/<q>} => <fdec>
        + The fraction is <p>/<q>. => <p>/<q>
        + -<p>/<q> => \frac{-<p>}{<q>}
        + \left(\frac{<p>}{<q>}\right) => <p>/<q>
        + <cp>/<cq> => \frac{<p>}{<q>}
        + \frac12 => 0.5
        + \frac34 => \frac{3}{4}
        + ⅓ => 1/3
        + ¼ => 0.25
        + <p>/<q> of the cake => <p>/<q>
        + <fdec> => <cp>/<cq>
        - \frac{<p>}{<q>} => <q>/<p>
        - -<p>/<q> => <p>/<q>
        - <p>/<q2> => <fdec>
        - \frac{<r2>}{<t>} => <r>/<t>
        - <p>/<q> => <cp>/<q>
        - 1 - <p>/<q> => <p>/<q>
        - <p>/<q> + <k> => <p>/<q>
        - ⅓ => 3
        - at least <p>/<q> => <p>/<q>
        - <rdec2> => \frac{<r>}{<t>}
        - <p>/<q> of <n> => <n>
        - \frac{1}{<p>/<q>} => <p>/<q>
    """,
    "mixed": r"""
        + \(<w>\frac{<p>}{<q>}\) => <w> <p>/<q>
        + <w> and <p>/<q> <unitw> => <mdec>
        + $<w> \frac{<p>}{<q>}$ => <imp>/<q>
        + The recipe needs <w> <p>/<q> cups. => <mdec>
        + <mdec> => \frac{<imp>}{<q>}
        + 2½ => 2.5
        + 1 ½ => 3/2
        + <w>¾ => <w>.75
        + <w>\dfrac{<p>}{<q>} => <mdec>
        + -<w> <p>/<q> => -<mdec>
        - 2½ => 2
        - 2½ => 1/2
        - <w> <p>/<q> => <mprod>
        - -<w> <p>/<q> => <mdec>
        - <w> <p>/<q2> cups => <mdec>
        - <w> and <p>/<q> => <w>
        - \frac{<imp>}{<q>} => <imp>
        - <w> <q>/<p> => <w> <p>/<q>
        - about <w> <p>/<q> => <mdec>
    """,
    "latex": r"""
        + $\mathrm{<n>}$ => <n>
        + $$\boxed{<n>}$$ => <n>
        + \[ \boxed{<n>} \] => <n>
        + \boxed{$<n>$} => <n>
        + \textbf{<n>} => <n>
        + \(\boxed{<k>\pi}\) => <k>\pi
        + $<n>.$ => <n>
        + \frac{<k>\sqrt{<root>}}{<j>} => $\frac{<k>\sqrt{<root>}}{<j>}$
        + \boxed{<n>\text{ <unitw>}} => <n>
        + $<n>\ \text{<noun>}$ => <n>
        + \boxed{<n>}. => <n>
        + \displaystyle\frac{<p>}{<q>} => <p>/<q>
        - \boxed{-<n>} => <n>
        - \sqrt{<n>} => <n>^2
        - \sin <n> => <n>
        - \ln <n> => <n>
        - <k>^{<j>} => <k><j>
        - \frac{<k>}{\pi} => <k>\pi
        - \sqrt{<root2>} => \sqrt{<root>}
        - \boxed{<n>} and \boxed{<m>} => <n>
        - $<m>$ => \boxed{<n>}
        - -<k>\sqrt{<root>} => <k>\sqrt{<root>}
        - <k>\pi + <j> => <k>\pi
        - \binom{<n>}{2} => <n>
    """,
    "powers": r"""
        + $<sci> \times 10^{<pow>}$ => <scival>
        + <k> * 10^<pow> => <kten>
        + <sci>e+<pow> => <scival>
        + \boxed{2^{<e>}} => 2^{<e>}
        + 5^{<e>} => $5^{<e>}$
        + 1/2^{<e>} => \frac{1}{2^{<e>}}
        + 10³ => 1000
        + <k>×10^<pow> => <kten>
        + <e>! => $<e>!$
        + \frac{1}{<e>^2} => 1/<e>^2
        - 5^{<e>} => 5^{<e2>}
        - <e>! => <e2>!
        - \frac{1}{5^{<e>}} => \frac{1}{5^{<e2>}}
        - 10³ => 103
        - <sci>e-<pow> => <scival>
        - -2^{<e>} => 2^{<e>}
        - 2^{<e>} + 3^{<e>} => 3^{<e>}
        - <k>*10^<pow2> => <kten>
        - <k> \times <pow> => <kten>
    """,
    "repeating": r"""
        + $0.(<rep>)$ => <repnum>/<repden>
        + 0.\overline{<rep>} => \frac{<repnum>}{<repden>}
        + \boxed{0.\overline{<rep>}} => 0.(<rep>)
        + <w>.(<rep>) => <repw>/<repden>
        + <w>.<reprep>... => <repw>/<repden>
        + \frac{<repnum>}{<repden>} => 0.<reprep>...
        - 0.(<rep>) => <rep>/100
        - <w>.(<rep>) => <w>.<rep>
        - 0.0(<rep>) => <repnum>/<repden>
        - -0.\overline{<rep>} => 0.\overline{<rep>}
        - 0.\overline{<rep>} => <w>.\overline{<rep>}
        - 0.<rep> => 0.(<rep>)
    """,
    "negative": r"""
        + negative <dec> => -<dec>
        + minus <n> degrees => -<n>
        + The balance is -$<n>. => -<n>
        + −<n> <unitw> => -<n>
        + \boxed{-<n>} => -<n>
        + x = −<n> => -<n>
        + The result is minus <nw>. => -<n>
        + -<n>.0 => -<n>
        + (-<n>) => -<n>
        - minus <dec> => <dec>
        - The balance is -$<n>. => <n>
        - - <n> => <n>
        - the opposite of <n> => <n>
        - <n> => negative <n>
        - x = −<n> => <n>
        - -<m> => -<n>
        - negative <nw> <unitw> => <n>
        - (-<n>) => <n>
        - The temperature dropped to minus <k> degrees. => <k>
    """,
    "words": r"""
        + <nw>. => <n>
        + <Nw> <noun>. => <n>
        + <n> => <nw>
        + <nand> <unitw> => <n>
        + There are <nw> <noun>. => <n>
        + eleven => 11
        + Twelve => 12
        + ninety => 90
        + two hundred => 200
        + five thousand => 5000
        + <bigw> => <bigc>
        - forty => 14
        - seventy => 17
        - thirty => 13
        - twelve => 20
        - nineteen => 90
        - <kw> hundred => <hundk>
        - <nw> thousand => <n>
        - <nw> point five => <n>
        - There are <mw> <noun>. => <n>
        - <nw> and a half => <n>
        - ten or twenty => 20
    """,
    "fraction_words": r"""
        + one third => 1/3
        + a quarter => 1/4
        + three-fifths of the class => 3/5
        + <tpw> <tws> => <tp>/<third>
        + two and a half => 2.5
        + <w> and a half <unitw> => <w>.5
        + The answer is <pw> <qws>. => <p>/<q>
        + one-half => 0.5
        + five eighths => 0.625
        - a quarter => 4
        - a quarter => 1
        - <tpw>-<tws> => <third>
        - two and a half => 2
        - one third of the <n> <noun> => <n>
        - a half of <n> => <n>
        - <n> thirds => <n>
        - half <n> => <n>
        - <pw> <qws> => <q>/<p>
        - a tenth of <n> => <n>
        - <n> and three quarters => <n>
    """,
    "scale": r"""
        + <k> million. => <mil>
        + $<k> million. => <mil>
        + <k> billion people => <bil>
        + a million dollars => 1000000
        + <k> dozen <noun> => <doz>
        + <dec> million people => <decmil>
        + <n> thousand. => <thou>
        + The population is <dec> million. => <decmil>
        + one billion => 1000000000
        + three dozen => 36
        - <k> dozen => <hund>
        - <k> billion => <k>
        - $<k> million => <k>
        - <n> thousand votes => <n>
        - <dec> million people => <dec>
        - three dozen => 3
        - <k> million people => <bil>
        - <n> hundred => <n>
        - <k> score => <k>
        - <k> gross => <k>
        - <k> trillion => <k>
        - <n> grand => <n>
    """,
    "inequality": r"""
        + $<var> > <n>$ => <var> > <n>
        + <var> \geq <n> => $<var> \ge <n>$
        + \boxed{<var> < <n>} => <var> < <n>
        + <var> ≥ <n> => <var> \geq <n>
        + <n> < <var> => <var> > <n>
        + <u> < <var> < <v> => $<u> < <var> < <v>$
        - < <n> => <n>
        - > <n> => <n>
        - ≤ <n> => <n>
        - <n> at most => <n>
        - <n> minimum => <n>
        - not more than <n> => <n>
        - no fewer than <n> <noun> => <n>
        - exceeding <n> => <n>
        - below <n> => <n>
        - <n> and above => <n>
        - <n> or less => <n>
        - in excess of <n> => <n>
        - as many as <n> <noun> => <n>
        - a maximum of <n> <noun> => <n>
        - <var> ≥ <n> => <var> ≤ <n>
        - <var> ≤ <n> => <n>
        - <u> ≤ <var> ≤ <v> => <u> < <var> < <v>
        - <var> ≠ <n> => <n>
        - The <thing> is greater than <n>. => <n>
        - <name> needs at least <n> <noun>. => <n>
        - at the most <n> => <n>
        - <n> is a lower bound => <n>
    """,
    "negation": r"""
        + None. => none
        + There are no real solutions. => no real solutions
        + not defined => Not defined
        + It equals <n>. => <n>
        + That leaves <n>. => <n>
        + Impossible. => impossible
        + It would be <n>. => <n>
        - It was never <n>. => <n>
        - not exactly <n> => <n>
        - The <thing> is not <n> <unitw>. => <n>
        - <name> doesn't have <n> <noun>. => <n>
        - It can't be <n>. => <n>
        - <n> is false => <n>
        - rather than <n> => <n>
        - The total isn't <n>. => <n>
        - without <n> => <n>
        - We cannot get <n>. => <n>
        - <n> would be wrong => <n>
        - <n> is too high => <n>
        - There aren't <n> <noun>. => <n>
        - <n> is impossible => <n>
        - The answer can not be <n>. => <n>
        - excluding <n> => <n>
        - It's not <n> but <m>. => <n>
        - <name> didn't buy <n> <noun>. => <n>
        - Hardly <n>. => <n>
        - <n> is not correct => <n>
    """,
    "functions": r"""
        + Triple <n> = <triple> => <triple>
        + The square of <k> = <ksq> => <ksq>
        + The sum is <n>. => <n>
        + The quotient equals <n>. => <n>
        + The mean is <n>. => <n>
        + The average is <n> <unitw>. => <n>
        + The perimeter equals <n> <unitw>. => <n>
        + The product of the two numbers is <n>. => <n>
        - thrice <n> => <n>
        - <n> to the power of <k> => <n>
        - the logarithm of <n> => <n>
        - <n> times <var> => <n>
        - the inverse of <n> => <n>
        - <n> over <var> => <n>
        - <n> minus <var> => <n>
        - the cube root of <n> => <n>
        - a power of <n> => <n>
        - a divisor of <n> => <n>
        - <n> more than <var> => <n>
        - the digits of <n> => <n>
        - the sum of the digits of <n> => <n>
        - <n> percent of <var> => <n>
        - the absolute value of -<n> => -<n>
        - the remainder when divided by <n> => <n>
        - ten times <n> => <n>
        - five more than <n> => <n>
        - twice the <n> <noun> => <n>
        - half as much as <n> => <n>
        - g(<n>) => <n>
        - \cos(<n>) => <n>
        - \log_{<k>} <var> => <k>
        - <var>_<k> => <k>
        - quadruple <n> => <n>
        - <n> decreased by <var> => <n>
    """,
    "equations": r"""
        + <var> = <n>. => <n>
        + \(<var> = <n>\) => <n>
        + Thus <var> = <dec>. => <dec>
        + The value of <var> is <n>. => <n>
        + <var> is <n> => <n>
        + <var> = \frac{<p>}{<q>} => <fdec>
        + $$<var> = <n>$$ => <n>
        + y = <k>x - <j> => $y=<k>x-<j>$
        + <n> => $<var> = <n>$
        + f(x) = <k>x + <j> => f(x)=<k>x+<j>
        + <var> = <u> and <var2> = <v> => <var> = <u>, <var2> = <v>
        + \boxed{<var> = \frac{<p>}{<q>}} => <p>/<q>
        - <var> = -<n> => <n>
        - <var> = <n> => <m>
        - 2x = <n> => <n>
        - x^3 = <n> => <n>
        - <var> - <k> = <n> => <n>
        - |<var>| = <n> => <n>
        - \lfloor x \rfloor = <n> => <n>
        - \sqrt[3]{x} = <k> => <k>
        - f(<k>) = <n> => <k>
        - y = -<k>x + <j> => y = <k>x + <j>
        - y = <k>x + <j> => y = <k>x
        - \frac{1}{x} = <n> => <n>
        - <var> = \pm <n> => <n>
        - <var> = <u> and <var2> = <v> => <var> = <v>, <var2> = <u>
        - <var> \approx <n> => <n>
        - \log x = <n> => <n>
        - x! = <n> => <n>
        - <var> + 1 = <n> => <n>
    """,
    "working": r"""
        + <a> + <b> = <sum>. => <sum>
        + <a>*<b> = <prod> => <prod>
        + <a>-<b>=<diff> => <diff>
        + <a> × <b> = <prod> <noun> => <prod>
        + <prod> ÷ <b> = <a> <noun> => <a>
        + $<prod> / <b> = $<a> => <a>
        + Total: <a> + <b> = <sum> => <sum>
        + <name> has <a> + <b> = <sum> <noun>. => <sum>
        + So <name> needs <a> * <b> = <prod> <noun>. => <prod>
        + The cost is $<a> * <b> = $<prod>. => <prod>
        + <a> <noun> * $<b>/<noun1> = $<prod> => <prod>
        + That is a total of <a>+<b>=<<<a>+<b>=<sum>>><sum> <noun>. => <sum>
        + <she> spends <a>*<b>=$<<<a>*<b>=<prod>>><prod>. => <prod>
        + <a> + <b> = \boxed{<sum>} => <sum>
        + \(<a> + <b> = <sum>\) => <sum>
        + \frac{1}{3} \times <triple> = <n> => <n>
        + <triple>/3 = <n> => <n>
        + (<a> + <b>) + <j> = <asumj> => <asumj>
        + Amount left = $<a> - $<b> = $<diff> => <diff>
        + Number of <noun> = <a> * <b> = <prod> => <prod>
        + Altogether, they have <a> + <b> = <sum> <noun>. => <sum>
        + <name>'s share is <a> - <b> = <diff> <unitw>. => <diff>
        + <k>^2 = <ksq> => <ksq>
        - <a> plus <b> equals <sum>. => <a>
        - <a>*<b> = <prod> => <a>
        - <a> + <b> = <sum>. => <diff>
        - <name> has <a> + <b> = <sum> <noun>. => <b>
        - <a> + <b> => <a>
        - <prod> ÷ <b> = <a> <noun> => <prod>
        - Total: <a> + <b> = <sum> => <a>
        - <triple>/3 = <n> => <triple>
        - <a> + <b> < <n> => <n>
        - <var> = <a> + <b> => <a>
        - (<a> + <b>) + <j> = <asumj> => <sum>
        - <a> * <var> = <prod> => <prod>
        - <var> - <b> = <n> => <n>
        - <a> + <b> ≠ <n> => <n>
        - <a> + <b> ≈ <n> => <n>
        - <k>^2 = <ksq> => <k>
        - 3<var> + <a> = <n> => <n>
    """,
    "sentences": r"""
        + So <name> has <n> <noun> in total. => <n>
        + <name> now has <n> <noun>. => <n>
        + <she> will have <n> <noun>. => <n>
        + <she> had <n> <noun> left after lunch. => <n>
        + He has <n> <noun> left. => <n>
        + There were <n> <noun> <place>. => <n>
        + There will be <n> <noun> <place>. => <n>
        + The store sold <n> <noun> on <weekday>. => <n>
        + <name> <verb> <n> <noun> <place>. => <n>
        + <name> <verb> <n> <noun> <when>. => <n>
        + <name> earns <cur><n> per week. => <n>
        + <name> earned a total of <cur><n>. => <n>
        + <she> paid <cur><n> for the <noun>. => <n>
        + The <noun> cost <cur><n> in total. => <n>
        + It cost <name> <cur><n>. => <n>
        + <name>'s profit was <cur><n>. => <n>
        + <name> saved <cur><n> by <weekday>. => <n>
        + <name> will be <a> years old next year. => <a>
        + <name>'s sister is <a> years old. => <a>
        + It took <name> <n> minutes. => <n>
        + It will take <n> days to finish the job. => <n>
        + The train travels <n> miles. => <n>
        + <name> drove <n> miles on <weekday>. => <n>
        + <name> walked a total of <n> miles. => <n>
        + So the <thing> is <n> <unitw>. => <n>
        + Therefore, the <thing> is <n>. => <n>
        + The <thing> would be <n>. => <n>
        + The <thing> was <n> <unitw>. => <n>
        + The <thing> will be <n>. => <n>
        + This gives us <n> <noun>. => <n>
        + This gives a total of <n>. => <n>
        + In all, there are <n> <noun>. => <n>
        + Altogether, there are <n> <noun> <place>. => <n>
        + Together, they have <n> <noun>. => <n>
        + Together they earned <cur><n>. => <n>
        + The school has <n> <noun>. => <n>
        + <n> <noun> were left <place>. => <n>
        + <n> <noun> can fit <place>. => <n>
        + Only <n> <noun> remain. => <n>
        + <name> still has <n> <noun>. => <n>
        + <name> still needs <cur><n>. => <n>
        + <name> needs <n> more <noun>. => <n>
        + <name> has <n> more <noun> than <name2>. => <n>
        + Each <noun1> costs <cur><n>. => <n>
        + Each of them gets <n> <noun>. => <n>
        + Each person will pay <cur><n>. => <n>
        + We need <n> <noun>. => <n>
        + You would need <n> <noun>. => <n>
        + I have <n> <noun> left. => <n>
        + My change is <cur><n>. => <n>
        + Your total is <cur><n>. => <n>
        + Their combined age is <a>. => <a>
        + <name> and <name2> have <n> <noun> together. => <n>
        + <name> and <name2> <verb> <n> <noun>. => <n>
        + The number of <noun> <place> is <n>. => <n>
        + The number of <noun> <name> has is <n>. => <n>
        + Hence <name> <verb> <n> <noun>. => <n>
        + Thus, <name> has <cur><n> left. => <n>
        + As a result, <name> has <n> <noun>. => <n>
        + Finally, <name> has <n> <noun> left. => <n>
        + At the end of the day, <name> has <n> <noun>. => <n>
        + After that, <name> has <n> <noun>. => <n>
        + By <month>, <name> had <n> <noun>. => <n>
        + On <weekday>, <name> <verb> <n> <noun>. => <n>
        + In <city>, there are <n> <noun>. => <n>
        + <name> flew <n> miles to <city>. => <n>
        + The zoo in <city> has <n> <noun>. => <n>
        + The trip lasts <n> days. => <n>
        + The total comes out to <n>. => <n>
        + The total amounts to <cur><n>. => <n>
        + That adds up to <n> <noun>. => <n>
        + That comes to <cur><n>. => <n>
        + This leaves <name> with <n> <noun>. => <n>
        + <name> ends up with <n> <noun>. => <n>
        + <name> is left with <cur><n>. => <n>
        + <name> should buy <n> <noun>. => <n>
        + <name> has to sell <n> <noun>. => <n>
        + We find that there are <n> <noun>. => <n>
        + We can see that the <thing> is <n>. => <n>
        + We know that <name> has <n> <noun>. => <n>
        + I got <n>. => <n>
        + We end up with <n>. => <n>
        + The machine produces <n> <noun> per day. => <n>
        + <name> can make <n> <noun> in a day. => <n>
        + <n> people attended the concert. => <n>
        + One <noun1> costs <cur><n>. => <n>
        + The two friends have <n> <noun>. => <n>
        + <name>'s favorite team scored <n> points. => <n>
        - <name> has <n> <noun> and <name2> has <m>. => <n>
        - <name> gave <m> <noun> to <name2> and kept <n>. => <m>
        - <name> has <m> <noun> left. => <n>
        - The <noun> cost <cur><n> each, so <cur><m> in total. => <n>
        - After <k> weeks, <name> has <n> <noun>. => <k>
        - <name> has <n> of the <m> <noun>. => <m>
        - <name> might have <n> <noun>. => <n>
        - If <name> has <n> <noun>, we win. => <n>
        - <name> has almost <n> <noun>. => <n>
        - <name> has fewer than <n> <noun>. => <n>
        - <name> no longer has <n> <noun>. => <n>
        - <name> has half of the <n> <noun>. => <n>
        - <name> has twice as many as <name2>'s <n> <noun>. => <n>
        - There are between <u> and <v> <noun>. => <v>
        - There are either <n> or <m> <noun>. => <n>
        - There are not <n> <noun> <place>. => <n>
        - None of the <n> <noun> are left. => <n>
        - Some of the <n> <noun> are broken. => <n>
        - Most of the <n> <noun> were sold. => <n>
        - The <thing> increased from <m> to <n>. => <m>
        - The <thing> rose by <n> to <m>. => <n>
        - The <thing> is close to <n>. => <n>
        - The <thing> is not quite <n>. => <n>
        - The <thing> can't be <n>. => <n>
        - The <thing> is unknown, perhaps <n>. => <n>
        - The <thing> is -<n>. => <n>
        - The <thing> is the square root of <n>. => <n>
        - iPhone <k> => <k>
        - Room B<k> => <k>
        - Why <n>? => <n>
        - Does <name> have <n> <noun>? => <n>
        - <name> lost <n> of <m> <noun>. => <m>
        - Together, they have <m> <noun>. => <n>
        - <name> and <name2> have <n> and <m> <noun>. => <n>
        - For each of the <k> <noun>, <name> paid <cur><n>. => <k>
        - The total is <n> - <m>. => <n>
        - It takes <name> more than <n> minutes. => <n>
        - It takes <name> up to <n> days. => <n>
        - In <n> minutes, <name> <verb> <m> <noun>. => <n>
        - Only if <name> has <n> <noun>. => <n>
        - <name> has too few <noun>, not <n>. => <n>
        - <name> hasn't got <n> <noun>. => <n>
        - <name> wants <n> <noun> but has <m>. => <n>
        - <n> <noun>, minus <m> => <n>
        - <name> earned <cur><n> thousand. => <n>
        - Unless <name> sells <n> <noun>, the shop closes. => <n>
    """,
    "phrases": r"""
        + The answer to the question is <n>. => <n>
        + So, the answer is <n> <noun>. => <n>
        + The final answer is: <n> => <n>
        + The answer: <n> => <n>
        + Result: <n> => <n>
        + Solution: <n> => <n>
        + So the total is <n>. => <n>
        + The answer would be <n>. => <n>
        + Your answer is <n>. => <n>
        + Our answer is <n>. => <n>
        + That's <n>. => <n>
        + It's <n>. => <n>
        + Thus the final answer is $<n>$. => <n>
        + Therefore the correct answer is <n>. => <n>
        + ### Answer: <n> => <n>
        + **Final Answer:** <n> => <n>
        + The answer is therefore <n>. => <n>
        + Final result: <n> => <n>
        + The final answer is \boxed{<n>}. => <n>
        + <n> is the correct answer. => <n>
        + <n> is the final answer. => <n>
        + The solution is <n>. => <n>
        + So <n>. => <n>
        + Answer is <n> => <n>
        + The number is <n>. => <n>
        + So the answer must be <n>. => <n>
        + This means the answer is <n>. => <n>
        + The required number is <n>. => <n>
        + The answer is <n> <unitw>. => <n>
        + #### $<n> => <n>
        - The answer to the question is <m>. => <n>
        - The answer is between <u> and <v>. => <u>
        - The answer might be <n>. => <n>
        - So, the answer can't be <n>. => <n>
        - The answer is roughly <n>. => <n>
        - The answer is greater than <n>. => <n>
        - The answer is -<n>. => <n>
        - The answer is <n> squared. => <n>
        - The answer is one half of <n>. => <n>
        - The answer is not necessarily <n>. => <n>
        - Result: <n> or <m> => <n>
        - The answer to question <k> is <n>. => <k>
        - Solution <k>: <n> => <k>
        - The answer is <n>, I mean <m>. => <n>
        - #### -<n> => <n>
        - The answer is unknown. => <n>
        - Is the answer <n>? => <n>
        - The answer is closest to <n>. => <n>
    """,
    "ranges": r"""
        + <u>—<v> => <u>-<v>
        + <u> to <v> <unitw> => <u> to <v>
        + $<u>–<v>$ => <u>-<v>
        + The range is <u> to <v>. => <u> to <v>
        + <u>-<v> <unitw> => <u>-<v>
        - <u>-<v> => <uplus>-<v>
        - <u> to <z> => <u> to <v>
        - <u> to <v> => <v> to <u>
        - <u>-<v> <noun> => <u>
        - between <u> and <v> <noun> => <u>
        - The range is <u> to <v>. => <v>
        - <v>-<z> => <u>-<v>
    """,
    "times": r"""
        + <h>:<min> AM => <h>:<min> am
        + <h>:<min>am => <h>:<min> a.m.
        + The train leaves at <h>:<min> pm. => <h>:<min> pm
        + The time is <h>:<min>. => <h>:<min>
        + <h2> hours <min> minutes => <h2> h <min> min
        + <h2> hours and <min> minutes. => <h2> hours and <min> minutes
        + $<h>:<min>$ => <h>:<min>
        + So it is <h>:<min> p.m. => <h>:<min> PM
        + <name> gets home at <h>:<min> pm. => <h>:<min> pm
        + 09:15 am => 9:15 am
        + 7pm => 7:00 pm
        - <h>:<min> p.m. => <h>:<min> a.m.
        - <h>:<min2> => <h>:<min>
        - <h2>:<min> => <h>:<min>
        - later than <h>:<min> pm => <h>:<min> pm
        - The train leaves at <h2>:<min> pm. => <h>:<min> pm
        - between <h>:<min> and <h2>:<min> => <h>:<min>
        - <h2> hours => <h2> hours <min> minutes
        - <h2> minutes => <h2> hours
        - <min> seconds => <min> minutes
        - <h>:<min> pm => <h> pm
        - <h2> days <min> minutes => <h2> hours <min> minutes
        - not <h>:<min> => <h>:<min>
        - about <h>:<min> => <h>:<min>
        - 7:00 pm => 7:00 am
    """,
    "dates": r"""
        + <month> <day>, <yr>. => <month> <day>, <yr>
        + <day> <mon> <yr> => <day> <month> <yr>
        + the <dayth> of <month>, <yr> => <month> <day>, <yr>
        + It was <month> <day>, <yr>. => <month> <day>, <yr>
        + \text{<month> <day>} => <month> <day>
        + <dayth> <month> <yr> => <month> <day>, <yr>
        + <month> <dayth> => <month> <day>
        + It happened in <yr>. => <yr>
        + <name> was born in <yr>. => <yr>
        + It is <weekday>. => <weekday>
        + <weekday>. => <weekday>
        - <day> <month2> <yr> => <month> <day>, <yr>
        - <day2> <month> <yr> => <month> <day>, <yr>
        - the <dayth> of <month>, <yr2> => <month> <day>, <yr>
        - <month> <day> => <day>
        - <yr2> => <yr>
        - around <yr> => <yr>
        - earlier than <yr> => <yr>
        - <name> was born in <yr2>. => <yr>
        - the <yr>s => <yr>
        - <yr> or <yr2> => <yr>
        - <yr> B.C. => <yr>
        - <weekday2> => <weekday>
        - <month2> => <month>
        - not in <yr> => <yr>
    """,
    "ratios": r"""
        + <u>:<v>. => <u>:<v>
        + The ratio is <u> to <v>. => <u>:<v>
        + \boxed{<u>:<v>} => <u>:<v>
        + <u>:<v>:<z> => <u> : <v> : <z>
        + The ratio of <noun> to <noun2> is <u>:<v>. => <u>:<v>
        + \text{<u>:<v>} => <u>:<v>
        - <v> to <u> => <u>:<v>
        - <u>:<v>:<z> => <u>:<z>:<v>
        - <v>:<z> => <u>:<v>
        - The ratio of <noun> to <noun2> is <v>:<u>. => <u>:<v>
        - \boxed{<uplus>:<v>} => <u>:<v>
        - about <u>:<v> => <u>:<v>
        - <u>:<v> => <u><v>
    """,
    "lists": r"""
        + <u> and <v>. => <u> and <v>
        + $<u>, <v>, <z>$ => <u>, <v>, <z>
        + The solutions are <u> and <v>. => <u>, <v>
        + The numbers are <u>, <v>, and <z>. => <u>, <v>, <z>
        + \boxed{\{<u>, <v>\}} => \{<v>, <u>\}
        + \left\{<u>, <v>\right\} => \{<u>,<v>\}
        + **<u> and <v>** => <u>, <v>
        + <u>,<v> => <u>, <v>
        + <u>, <v> => <u> and <v>
        - <z>, <v>, <u> => <u>, <v>, <z>
        - <u> and <z> => <u> and <v>
        - \{<u>, <v>\} => \{<u>, <v>, <z>\}
        - <u>, <v>, <z> => <u>
        - The solutions are <u> and <z>. => <u>, <v>
        - \{<uplus>, <v>\} => \{<u>, <v>\}
        - <u> => <u>, <v>
        - -<u>, <v> => <u>, <v>
        - <u>.<v> => <u>, <v>
        - <v> and <u> => <u>, <v>, <z>
        - <z>, <u> and <v> => <u>, <v> and <z>
    """,
    "intervals": r"""
        + [<u>, <v>] => [<u>,<v>]
        + $[<u>, <v>)$ => [<u>,<v>)
        + \left(-\infty, <u>\right) => (-\infty, <u>)
        + The vertex is (<u>, <v>). => (<u>, <v>)
        + (<u>,<v>,<z>) => (<u>, <v>, <z>)
        + \boxed{[<u>, \infty)} => [<u>,\infty)
        + $(-<u>, <v>)$ => (-<u>,<v>)
        + (\frac{<p>}{<q>}, <u>) => \left(\frac{<p>}{<q>}, <u>\right)
        + [<u>, <v>] \cup [<z>, \infty) => [<u>,<v>]\cup[<z>,\infty)
        + The answer is [<u>, <v>). => [<u>, <v>)
        - [<u>, <v>] => (<u>, <v>)
        - (<u>, <v>) => (<u>, -<v>)
        - [<u>, \infty) => (<u>, \infty)
        - [<u>, <z>] => [<u>, <v>]
        - (<u>, \infty) => (-\infty, <u>)
        - (<u>, <v>] => <u>
        - (<z>, <v>, <u>) => (<u>, <v>, <z>)
        - The vertex is (<v>, <u>). => (<u>, <v>)
        - (<u>, <v>) and (<v>, <z>) => (<u>, <v>)
        - [<u>, <v>] \cup [<z>, \infty) => [<u>, <v>]
        - \{<u>, <v>\} => (<u>, <v>)
    """,
    "bases": r"""
        + \boxed{<oct>_8} => <oct>_8
        + $<oct>_8$ => <oct>_{8}
        + <oct>_8. => <oct>_8
        + So the answer is <bin>_2. => <bin>_2
        + \text{<bin>}_2 => <bin>_2
        + The number is <oct>_8. => <oct>_8
        - $<bin>_2$ => <bin>
        - <bin2>_{2} => <bin>_{2}
        - <oct> => <oct>_8
        - <oct>_7 => <oct>_8
        - -<oct>_8 => <oct>_8
        - <oct>_8 or <bin>_2 => <oct>_8
    """,
    "brackets": r"""
        + <dy>. => <dy>
        + Final answer: <dy> => <dy>
        + '<dy>' => <dy>
        + <dyns>. => <dy>
        + The final answer is <dyns> => <dy>
        - <dyswap>. => <dy>
        - <dymore>. => <dy>
        - The final answer is <dyless> => <dy>
        - <dy1> <dy> => <dy>
        - not <dy> => <dy>
        - <dyopen>. => <dy>
        - <dy> => <dyless>
    """,
    "yesno": r"""
        + The answer is: <Yes> => <yes>
        + The correct answer is <yes>. => <yes>
        + The final answer is <yes>. => <yes>
        + Final answer: <Yes> => <yes>
        + **Answer:** <Yes> => <yes>
        + **Answer: <yes>** => <yes>
        + $\text{<Yes>}$ => <yes>
        + <YES>! => <yes>
        + <True>, <clause>. => <true>
        + <true>. => <True>
        + A: <Yes> => <yes>
        + (<Yes>) => <yes>
        + \boxed{<yes>} => <yes>
        + Therefore, the answer is <yes>. => <yes>
        + *<Yes>* => <yes>
        + <yes> => <True>
        + ‘<Yes>’ => <yes>
        + The statement is <true>. => <true>
        + It is <true>. => <true>
        - The answer is: <No> => <yes>
        - The correct answer is <no>. => <yes>
        - (<No>) => <yes>
        - *<No>* => <yes>
        - <False> - <clause> => <true>
        - The statement is <false>. => <true>
        - <no>, not <yes> => <yes>
        - Perhaps <yes> => <yes>
        - probably <yes> => <yes>
        - <yes> or maybe <no> => <yes>
        - The answer is <yes> or <no>. => <yes>
        - cannot be determined => <yes>
        - not sure => <yes>
        - Noon => no
        - Norway => no
        - Yesenia => yes
        - Falsehoods => false
        - not <true> => <true>
        - neither <yes> nor <no> => <yes>
    """,
    "entailment": r"""
        + <ent> => <ent>
        + <entN>. => <ent>
        + The answer is <entl>. => <ent>
        + Final answer: <ent> => <ent>
        + **<ent>.** => <ent>
        + \text{<ent>} => <ent>
        + The relationship is <entl>. => <ent>
        - <ent2>. => <ent>
        - The answer is <ent2l>. => <ent>
        - Final answer: <ent2> => <ent>
        - not <ent> => <ent>
        - <ent>, <ent2> => <ent>
        - either <ent> or <ent2> => <ent>
        - probably <entl> => <ent>
        - The relationship is <ent2l>. => <ent>
        - neither <ent> nor <ent2> => <ent>
    """,
    "choice": r"""
        + <L>) => <L>
        + The answer is <L>) <TL>. => <L>
        + Answer: <L>) <TL> => <L>
        + Answer: (<L>) <TL> => <L>
        + The correct answer is (<L>) <TL>. => <L>
        + The correct answer is <L>. => <L>
        + The correct choice is <L>. => <L>
        + The right option is <L>. => <L>
        + Correct option: <L> => <L>
        + Final answer: <L> => <L>
        + **Answer: <L>** => <L>
        + **<L>) <TL>** => <L>
        + $$\boxed{<L>}$$ => <L>
        + \boxed{\text{<L>}} => <L>
        + \boxed{\text{(<L>)}} => <L>
        + I pick <L>. => <L>
        + I would choose <L>. => <L>
        + My choice is <L>. => <L>
        + I select <L>. => <L>
        + <L> is the correct answer. => <L>
        + <L> is the answer. => <L>
        + Option <L> is correct. => <L>
        + Option (<L>) => <L>
        + Choice <L>. => <L>
        + So it's <L>. => <L>
        + Therefore, the answer is <L>. => <L>
        + Thus, option <L> is right. => <L>
        + The correct answer is option <L>: <TL> => <L>
        + <L>. <TL>. => <L>
        + (<L>) <TL>. => <L>
        + <l_>) <TL> => <L>
        + (<l_>) <TL> => <L>
        + \textbf{(<L>)} <TL> => <L>
        + \textbf{(<L>) }<TL> => <L>
        + The answer is <TL>, which is option <L>. => <L>
        + <TL> is correct. => <L>
        + "<L>" => <L>
        + `<L>` => <L>
        + Answer <L> => <L>
        + The correct answer is <TL>. => <L>
        + <TL>. => <TL>
        - The correct answer is (<W>) <TW>. => <L>
        - Final answer: <W> => <L>
        - \boxed{\text{<W>}} => <L>
        - <L> and <V> => <L>
        - <L>, <V> and <W> => <L>
        - Either (<L>) or (<W>) => <L>
        - I pick <W>. => <L>
        - Option <L> is wrong. => <L>
        - Option <W> is correct. => <L>
        - The answer is not (<L>). => <L>
        - It can't be <L>. => <L>
        - All except <L> => <L>
        - The correct answer is <L> or <V>. => <L>
        - <TL> and <TW> => <L>
        - not <TL> => <L>
        - The answer is <L>) <TW>. => <L>
        - (<L>) <TW> => <L>
        - \textbf{(<W>)} <TW> => <L>
        - <L> & <W> => <L>
        - (<L>), (<W>) => <L>
        - The correct answer is <TW>. => <L>
        - I don't choose <L>. => <L>
        - I would not pick <L>. => <L>
        - <L> is false. => <L>
        - <L> is the wrong answer. => <L>
        - Both are right. => <L>
        - I'm not sure. => <L>
        - <W>) <TW> => <TL>
        - <W>. => <TL>
        - Option <V> => <TL>
        - <l_> or <w_> => <L>
        - Maybe <L> => <L>
    """,
    "letters": r"""
        + <L>) => <L>
        + Option <L>. => <L>
        + The correct answer is <L>. => <L>
        + I choose option <L>. => <L>
        + The correct option is (<L>). => <L>
        + Final answer: <L> => <L>
        + "<L>" => <L>
        + \text{<L>} => <L>
        + Answer: (<L>) => <L>
        + <L> is correct. => <L>
        - <L> & <W> => <L>
        - Final answer: <W> => <L>
        - Answer: (<W>) => <L>
        - either <L> or <W> => <L>
        - <L> is wrong => <L>
        - Dogs => D
        - A cat sat down => A
        - Boron => B
        - Egypt => E
        - not (<L>) => <L>
        - <W>) => <L>
    """,
    "chinese": r"""
        + 答：还剩<n><cunit>。 => <n>
        + 一共<n><cunit> => <n>
        + 因此，答案是<n>。 => <n>
        + 所以一共有<n><cmeas><cnoun>。 => <n>
        + 答案是：<n><cunit> => <n>
        + 最终答案：<n> => <n>
        + 需要<n><cunit>。 => <n>
        + 总共<n><cunit> => <n>
        + 是<n><cunit> => <n>
        + 小明有<n><cmeas><cnoun>。 => <n>
        + <n><cunit>。 => <n>
        + 面积是<n>平方厘米 => <n>
        + 等于<n><cunit> => <n>
        - 不足<n> => <n>
        - 大于<n> => <n>
        - 小于<n><cunit> => <n>
        - 最多<n><cunit> => <n>
        - <n>或者<m> => <n>
        - 大概<n> => <n>
        - 答案不是<n> => <n>
        - <n>以上 => <n>
        - <n>多<cunit> => <n>
        - <k>千 => <k>
        - <k>百万 => <k>
        - <n>的两倍 => <n>
        - <n>分之一 => <n>
        - 零下<n>度 => <n>
        - 总共<m><cunit> => <n>
        - 小明没有<n><cmeas><cnoun>。 => <n>
        - <n><cunit2> => <n><cunit>
        - 也许<n> => <n>
        - 将近<n><cunit> => <n>
    """,
    "choice_chinese": r"""
        + 答案选<L> => <L>
        + 所以选<L>。 => <L>
        + 正确选项是<L> => <L>
        + 答案：<L> => <L>
        + <L>。 => <L>
        + 因此选<L> => <L>
        + 我选<L> => <L>
        + 答案是（<L>） => <L>
        + （<L>） => <L>
        + <L>项正确 => <L>
        + 故本题答案为<L>。 => <L>
        - 答案选<W> => <L>
        - 所以选<W>。 => <L>
        - <L>和<W> => <L>
        - <L>或<W> => <L>
        - 不能选<L> => <L>
        - <L>不正确 => <L>
        - （<W>） => <L>
        - 排除<L> => <L>
        - <W>项正确 => <L>
        - 答案不是<L> => <L>
        - 可能是<L> => <L>
    """,
    "european": r"""
        + La respuesta final es <n>. => <n>
        + La réponse finale est <n>. => <n>
        + Die Lösung ist <n>. => <n>
        + La risposta è <n>. => <n>
        + A resposta é <n>. => <n>
        + Il y a <n> fleurs. => <n>
        + Hay <n> flores. => <n>
        + En total hay <n> libros. => <n>
        + Insgesamt sind es <n> Euro. => <n>
        + <n> Stunden => <n>
        + <n> kilómetros => <n>
        + <n> personnes => <n>
        + Es gibt <n> Blumen. => <n>
        + Antwort: <n> Tage => <n>
        + Ergebnis: <n> => <n>
        - weniger als <n> => <n>
        - más de <n> => <n>
        - moins de <n> fleurs => <n>
        - environ <n> => <n>
        - etwa <n> => <n>
        - aproximadamente <n> => <n>
        - <n> o <m> => <n>
        - <n> oder <m> Stunden => <n>
        - La respuesta final no es <n>. => <n>
        - Die Lösung ist nicht <n>. => <n>
        - La réponse finale n'est pas <n>. => <n>
        - al menos <n> => <n>
        - au moins <n> => <n>
        - höchstens <n> => <n>
        - La risposta non è <n>. => <n>
        - Die Lösung ist <m>. => <n>
        - la moitié de <n> => <n>
        - la mitad de <n> => <n>
        - das Doppelte von <n> => <n>
        - Il n'y a pas <n> fleurs. => <n>
        - No hay <n> flores. => <n>
    """,
    "markdown": r"""
        + **<n>**. => <n>
        + **<n>.** => <n>
        + _<n>_ => <n>
        + **Result:** <n> => <n>
        + *Answer:* <n> => <n>
        + The total is **<n>**. => <n>
        + <name> has **<n>** <noun>. => <n>
        + **So the total is <n>.** => <n>
        + `<n> <unit>` => <n>
        + **$<n>$** => <n>
        + **Answer: <n> <noun>** => <n>
        - **<m>**. => <n>
        - _<m>_ => <n>
        - **about <n>** => <n>
        - **<n>** and **<m>** => <n>
        - **-<n>** => <n>
        - ~~<n>~~ <m> => <n>
        - The total is **<m>**. => <n>
        - **more than** <n> => <n>
        - <name> does **not** have <n> <noun>. => <n>
        - **Is it <n>?** => <n>
    """,
    "hedges": r"""
        + Exactly <n> <noun>. => <n>
        + It is exactly <n> <unitw>. => <n>
        + There are precisely <n> <noun>. => <n>
        + The answer is clearly <n>. => <n>
        + Obviously, it is <n>. => <n>
        + Clearly, the <thing> is <n>. => <n>
        + The <thing> is exactly <n>. => <n>
        - probably <n> <noun> => <n>
        - likely <n> => <n>
        - ~<n> => <n>
        - ≈ <n> => <n>
        - approx. <n> => <n>
        - close to <n> => <n>
        - something like <n> => <n>
        - <n>-ish => <n>
        - <n>, give or take => <n>
        - <n> more or less => <n>
        - <n> (approximately) => <n>
        - an estimated <n> <noun> => <n>
        - in the region of <n> => <n>
        - maybe <n> <noun>, maybe <m> => <n>
        - Could it be <n>? => <n>
        - I'm not certain, but <n> => <n>
        - on the order of <n> => <n>
        - supposedly <n> => <n>
        - It seems to be <n>. => <n>
        - <n> ± <k> => <n>
    """,
    "two_numbers": r"""
        + <n> = <nw> => <n>
        + <n> (<nw>). => <n>
        + <n> <noun> (<nw>) => <n>
        + <nw> <noun> (<n>) => <n>
        + <bigc> (<bigw>) => <big>
        - <n>, <m>, <k> => <n>
        - <m> (<n>) => <n>
        - <n> / <m> => <n>
        - <n> vs. <m> => <n>
        - <n> <noun> for <name> and <m> for <name2>. => <n>
        - <n> out of <m> => <n>
        - <n> of <m> => <n>
        - <n> x <m> => <n>
        - from <n> down to <m> => <m>
        - first <n> and then <m> => <m>
        - <n> - <m> => <n>
        - <nw>, <mw> => <n>
        - <n> <noun>, then <m> more => <n>
    """,
    "empty": r"""
        + ⏎<n>. => <n>
        + <n>⏎Next question => <n>
        + <n>⏎⏎Explanation: see above. => <n>
        + ⏎⏎⏎<n> <unitw> => <n>
        + <n> <noun>.⏎Question: How many? => <n>
        - None => <n>
        - nan => <n>
        - \boxed{␣} => <n>
        - . => <n>
        - The final answer is: => <n>
        - So the answer is => <n>
        - no solution => <n>
        - Error => <n>
        - I cannot answer that. => <n>
        - ### => <n>
        - \text{none} => <n>
        - ⏎<m> => <n>
    """,
    "texts": r"""
        + <text>! => <text>
        + The correct answer is <text>. => <text>
        + **<text>.** => <text>
        + Final answer: <text> => <text>
        + '<text>' => <text>
        + \boxed{\text{<text>}} => <text>
        + Answer: <text> => <text>
        + The answer is: <text> => <text>
        + <tlow> => <text>
        - <text2>. => <text>
        - It was <text2>. => <text>
        - Final answer: <text2> => <text>
        - either <text> or <text2> => <text>
        - <text>, <text2> => <text>
        - The answer is not <text>. => <text>
        - everything but <text> => <text>
        - probably <text> => <text>
    """,
}
