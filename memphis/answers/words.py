"""Vocabulary of answers: words that are harmless beside a number, and words that make another value of it.

Knows words alone. Everything is lower case. A word of no table is unknown: it may be a noun and nothing else.
"""

import re


def _table(*groups: str) -> frozenset[str]:
    return frozenset(" ".join(groups).split())


def _verbs(stems: str) -> frozenset[str]:
    return frozenset(stem + ending for stem in stems.split() for ending in ("", "s", "es", "d", "ed", "ing"))


# Doubt, negation, alternatives, bounds and conditions: no sentence with one of them states a value.
DOUBT = _table(
    "not no never neither nor none nothing nobody nowhere cannot without unless if whether except excluding excluded",
    "but besides or than wrong incorrect incorrectly inaccurate false untrue impossible invalid unlikely "
    "doubt doubtful",
    "doubtfully maybe perhaps possibly might may could rather instead hardly barely nearly almost anything everything",
    "between least most under over above below beneath beyond within exceed exceeds exceeded exceeding",
    "upto upward upwards onward onwards downwards too short shy outside upper lower bound bounds",
    "unknown undefined undetermined ambiguous disagree disagrees unequal differs differ different",
    "about approximately approx around roughly circa somewhere probably likely estimated estimate guess either",
    "nicht kein keine ne pas oder ou или más mas menos moins mehr weniger cuadrado carré quadrat falsch faux falso",
    "incorrecto неверно неправильно debt vs versus overdrawn seem seems seemed appear appears appeared",
    "assume assumes assuming suppose supposing imagine pretend angenommen supongamos supposons among",
    "não nao non nem nunca jamais nessun nessuno nada nadie tampoco sans senza sem ohne weder noch nie niemals",
    "niemand nichts ningún ninguno aucun aucune rien не нет ни или если почти около примерно более менее больше меньше",
    "quizá quizás vez peut-être vielleicht wahrscheinlich möglicherweise etwa ungefähr mindestens höchstens environ",
    "presque probablement forse quasi almeno talvez probabilmente provavelmente probablemente aproximadamente casi",
    "unos unas apenas oltre cerca più piu meno wenn falls sofern",
)
# Functions of a number: the text's value is another one.
FUNCTION = _table(
    "twice thrice double doubled doubles doubling triple tripled triples tripling quadruple quadrupled quadruples half",
    "halved halves halving squared cubed power powers exponent exponents factorial factorials",
    "reciprocal reciprocals inverse opposite negative negated minus plus multiplied multiply multiplying "
    "multiples divide",
    "divided dividing divides divisor divisors divisible indivisible factors modulo mod modulus log ln "
    "lg sin cos tan sqrt",
    "subtract subtracted subtracting added adding raised quarter quarters third thirds logarithm negation",
    "complement fold twofold threefold cot csc exp arcsin arccos arctan sinh cosh tanh derivative",
)
_PART = re.compile(
    r"\b(?:square|cube|root|quotient|logarithm|multiple|factor|part|fraction|portion|share|third|fourth|fifth|sixth|seventh|eighth|ninth"
    r"|tenth|[a-z]+t(?:een|ie)th|hundredth|thousandth)s?\s+of\b"
    r"|\btimes\s+(?:the|of|that|this|his|her|its|their|it|another)\b|\b(?:raised to|to the power)\b"
    r"|\bits\s+(?:square|cube|double)\b"
)
# Words for sizes of numbers that are not computed with: `5 gross` is no number here.
SCALE = _table(
    "grand gross mil mille milliard milliards milliarde milliarden millionen millones millón milhão milhões",
    "millier milliers millares centaine centaines cientos centenas tausende",
    "mila milioni tausend hundert dutzend docena docenas douzaine douzaines dúzia dozzina cien ciento",
    "bn mn mio mrd k kk тысяч тысячи тысяча миллион миллиона миллионов сто myriad myriads googol quadrillion",
    "quadrillions quintillion quintillions thousandfold zillion",
    "hundred hundreds thousand thousands million millions billion billions trillion trillions dozen "
    "dozens lakh lakhs crore",
    "crores binary octal hexadecimal hex bc bce",  # another base, or years that count down
)
_ORDINAL = re.compile(
    r"(?:half|halve|third|quarter|fourth|fif|six|seven|eigh|nin|ten|eleven|twelf|(?:thir|four|fif|six|seven|eigh|nine)teen"
    r"|(?:twen|thir|for|fif|six|seven|eigh|nine)tie|hundred|thousand|million|billion)(?:th)?s?"
)
# Grammar that a noun phrase directly after a number does not contain.
GRAMMAR = _table(
    "the is are was were be been being has have had do does did and of in on at by for from to with as "
    "that which who this",
    "these those it its i he she they we you there here then so because while when where how what all both only just",
    "still also would will should must can each every today tomorrow yesterday tonight later",
    "th ths remainder up some again ago away max min maximum minimum tops root roots",
)

# --- sentences -------------------------------------------------------------------------------------------------------
FILLERS = _table(
    "a an the exactly precisely only just now then still also already simply altogether",
    "all together total in overall finally be been to equal",
    "rs usd eur inr him her them me us you it currently presently actually indeed really truly at on de",
    "another additional",
)
OPENINGS = FILLERS | _table(
    "so thus hence therefore thereby accordingly consequently finally lastly overall altogether answer answers final",
    "solution result results value amount number sum cost price area volume perimeter length width "
    "height distance speed",
    "age average mean median profit revenue difference product count ratio size weight time total we i "
    "he she it they you",
    "there here this that these which who my our his her their your its my and ok okay well yes now think believe",
    "know see conclude concluded correct right ans sol as for required desired needed",
    "calculation calculations calculate computed together year mean means meaning imply implies",
)
# Verbs (and signs) that link a subject, whatever its words, with its value.
LINKS = _table(
    "is are was were be equal equals equaled equalled has have had having get gets got getting gave give gives given",
    "make makes made making took take takes taken paid pay pays spent spend spends costs cost sold sell "
    "sells bought buy",
    "buys ate eat eats eaten read reads ran run runs drove drive drives went go goes won win wins left "
    "leave leaves kept",
    "keep keeps found find finds need needs needed becomes become became sees saw drank drink drinks "
    "grew grow grows lost",
    "lose loses held hold holds wrote write writes drew draw draws built build builds sent send sends brought bring",
    "brings caught catch catches picked lay lays laid do does did totals totaled totalled amounts comes "
    "came yields stands",
    "taught teaches chose chooses hit hits cut cuts put puts fed feeds dug digs sang sings hid hides shot stole",
    "rode ride rides swam swim swims flew fly flies threw throw throws gained gain gains knows know owe owes owed",
    "should must will would can says said tells told thinks",
    "reste restent quedan queda sobran sobra hay tiene tienen ont bleiben bleibt hat haben gibt kostet kosten wiegt",
    "braucht brauchen bezahlt zahlt kauft verdient benötigt faut dépense dépensé gagne achète paie vend necesita gasta",
    "gastó gana compra vende paga recibe tenía spende guadagna mangia ganha получается равен равно равна составляет",
    "restano rimangono resta restam tem têm ha hanno custa cuesta cuestan coûte coûtent fait font mide осталось",
    "es son est sont ist sind é são è sono = :",
) | _verbs(
    "earn save use need want walk work travel weigh contain remain receive collect cook bake plant "
    "charge score own sell"
    " buy require produce deliver donate donat invit invite serv serve visit play start finish reach "
    "measure count fill"
    " return obtain deriv derive contribut contribute borrow bring add pack pick wash paint clean carry carri invest"
    " result last attend hatch giv tak mak us sav bak scor charg measur requir produc reciev consum consume purchas"
    " purchase stay train climb complet complete pass watch order show catch ship study sleep live cover gather"
)
# Regular verbs link too, unless the number was not what came of it.
_REGULAR_PAST = re.compile(r"[a-z]{2,}ed")
_NOT_DONE = _table(
    "expected wanted hoped planned intended guessed claimed predicted refused denied missed failed wished rejected",
    "assumed supposed ignored believed doubted imagined pretended attempted aimed tried targeted rounded reduced",
    "increased decreased compared related limited capped promised offered demanded requested desired proposed",
    "suggested numbered labeled labelled based exceed scaled shifted cancelled canceled",
)
_QUANTITY_OF = re.compile(  # `a total of 20`; `the average of 20` is another number
    r"\ban?\s+(?:[a-z]+\s+)?(?:total|sum|amount|number|value|price|cost|area|volume|length|width|height|distance|speed|age"
    r"|score|profit|rate|weight|result|average|mean|ratio|count|answer|duration|perimeter)\s+of\b"
)
_SAY = _table("follow follows show shows means implies conclude see")  # … that 20 remain
_IL_Y_A = re.compile(r"\b(?:il|elle|on)\s+(?:y\s+)?a\b")  # not the English article
_UP = re.compile(r"\bup\s+(?:to|until|from)\b")  # `fill up` is no bound
_WITH_UP = re.compile(
    r"\b(adds?|sums?)\s+up\s+to\b|\b((?:pick|use|save)(?:s|d|ed)?|gives?|gave|ends?|ended|wound)\s+up\b(?!\s+(?:to|until|from)\b)"
    r"(?:\s+with\b)?|\b(?:left|leaves?|leaving)(?:\s+(?:him|her|them|us|me|you))?\s+with\b"
)
# A question that lacks its mark: `Is it 20`.
_AUXILIARY = _table("is are was were do does did has have had would should could can will must shall let")
_QUESTION = _table("how what why where whose")
_PRONOUNS = _table("it i he she they we you there this that him her them us me")
_TO_WHAT = re.compile(r"(?<!equal )\b(?:to|of|than|by|from|per)\s*:")  # `perpendicular to: 20`
_COMPOUND = re.compile(r"-\s?(?:odd|some|something|ish|plus|fold)\b", re.I)  # 20-odd
_SIGN_LAST = re.compile(r"[-+]\s*[(\[{|$£€]*\s*$")  # the sign of `-(-5)`
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")

# Chinese: words that change the value, and what may stand before it.
_CHINESE_DOUBT = re.compile(
    "[不没非负未无或除但若]|超过|至少|至多|最多|最少|大于|小于|多于|少于|高于|低于|以上|以下|以内|左右|以外|大约|接近|将近|几乎|"
    "可能|也许|大概|或许|恐怕|估计|似乎|好像|仿佛|差不多|[猜吗呢哪欠亏缺]|如果|假如|假设|要是|即使|是否|难道|零下|的[两二三四五十几]倍|"
    "[一]?半|分之|倍的|平方根|立方根|的平方|的立方|倒数|相反|整除|倍数|约数|因数|错|多[个只元]|余[个只元]|[多余几]$|^[多余几]"
)
_KOREAN_DOUBT = re.compile(
    "아[니님]|틀|않|없|못|이상|이하|미만|초과|정도|쯤|가량|남짓|또는|혹은|말고|제외|까지|부터|보다|절반"
)
_HIRAGANA = re.compile("[ぁ-ゖ]")
_HARMLESS_HIRAGANA = re.compile(  # what may follow a number; other hiragana may negate or bound it
    "です|でした|である|だ$|になります|となります|あります|います|残ります|[のがはにを]|[つこ](?![ぁ-ゖ])"
)
_CHINESE_LEAD = re.compile(
    r"(?:[一-鿿]{0,16}?(?:一共有|共有|一共是|总共有|总共是|一共|总共|共计|合计|共|等于|答案是|答案为|答案|结果是|结果为|"
    r"就是|应为|应是|还剩下|还剩|剩下|还有|需要|要花|花了|得到|可得|可以|得|是|为|有|答|解|要|付|买了|卖了|吃了|今年|每[人个天]|平均|长|重|高)|"
    r"因此|所以|故|即|答|解)[了有是为]?\s*[:,]?\s*"
)


def states_no_value(word: str) -> bool:
    """True for a word of doubt, a function, a scale or an ordinal: it is no unit, and no noun beside a number."""
    return word in DOUBT or word in FUNCTION or word in SCALE or any(map(_ORDINAL.fullmatch, word.split("-")))


def is_noun(word: str) -> bool:
    """True if the word may be a noun or an adjective: it stands in no table of words that mean something else."""
    word = word.replace("ı", "i")  # 5 mıllıon is no 5
    return not states_no_value(word) and word not in GRAMMAR


def words_of(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def doubtful(text: str) -> bool:
    """True if a word of doubt, a negation, a bound or an alternative stands in the text."""
    lowered = text.lower()
    if _UP.search(_WITH_UP.sub(" ", lowered)):
        return True
    return "n't" in lowered or "n’t" in lowered or any(word in DOUBT for word in _WORD.findall(lowered))


def of_another(text: str) -> bool:
    """True if a number is one of another, unknown one: `3 times the number`, a `square of`."""
    return bool(re.search(r"\btimes\s+(?:the|that|this|his|her|its|their|it|another|as)\b", text.lower()))


def changes(text: str) -> bool:
    """True if a word of the text makes another value of the numbers beside it."""
    lowered = text.lower()
    if doubtful(text) or _PART.search(lowered):
        return True
    return any(word in FUNCTION for word in _WORD.findall(lowered))


def harmless_tail(text: str) -> bool:
    """True if nothing after a number changes it: no doubt, function, scale, ordinal, `and`, or second number word."""
    if _CHINESE_DOUBT.search(text) or _KOREAN_DOUBT.search(text) or changes(text):
        return False
    if _HIRAGANA.search(_HARMLESS_HIRAGANA.sub("", text)):
        return False
    words = words_of(text)
    if words[:1] in (["up"], ["some"]) or _COMPOUND.match(text):
        return False
    return len(words) <= 16 and not any(
        word in ("and", "remainder", "factor") or states_no_value(word) for word in words
    )


def _links(word: str) -> bool:
    return word in LINKS or (_REGULAR_PAST.fullmatch(word) is not None and word not in _NOT_DONE)


def harmless_lead(text: str) -> bool:
    """True if the words before a number say that it is the value.

    Either all of them are known to be harmless, or they are a name, a verb that links it with its value, and harmless
    words.
    """
    if not text.strip():
        return True
    if not text.isascii() and (match := _CHINESE_LEAD.fullmatch(text)):
        return not _CHINESE_DOUBT.search(match[0])
    if changes(text) or _SIGN_LAST.search(text):
        return False
    lowered = _IL_Y_A.sub(" hat ", _WITH_UP.sub(" gets ", _QUANTITY_OF.sub(" a ", text.lower())))
    words = re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|[:=]|[^\w\s]", lowered)
    words = [word for word in words if word not in (",", ".", ";", "(", "[", '"', "'", "*", "-", "!")]
    words = [re.sub(r"(?:['’](?:s|re|ve|ll|d|m))$", "", word) for word in words]
    if len(words) > 16 or any(not word[0].isalpha() and word not in ":=" for word in words):
        return False
    if _TO_WHAT.search(lowered) or (words and words[0] in _QUESTION):
        return False
    if words and words[0] in _AUXILIARY and any(w not in FILLERS | LINKS or w in _PRONOUNS for w in words[1:]):
        return False
    said = words.index("that") if "that" in words else 0  # We can see that …
    if all(word in OPENINGS or word in LINKS or word in _SAY for word in words[:said]):
        words = words[said:]
    links = [i for i, word in enumerate(words) if _links(word)]
    if not links:
        return all(word in OPENINGS for word in words)
    return all(word in FILLERS or _links(word) for word in words[links[-1] + 1 :])
