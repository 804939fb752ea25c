"""Words of the tiny task: names, things and the wording of every problem. `tiny.Template` explains the holes.

A template's name enters the hash that assigns a problem to a set: rename one and its problems move between sets.
"""

import re

NAMES = ("Tom", "Mia", "Sam", "Ana", "Ben", "Eva", "Max", "Lily", "Jack", "Nora", "Leo", "Kate")
THINGS = ("pen", "book", "apple", "card", "ball", "egg", "cake", "shell", "coin", "stamp", "flower", "button")

# name: question, and on the next line the rationale; first those with one calculation, then with two, with three
TEMPLATES: list[tuple[str, str, str]] = re.findall(
    r"^(\S+): (.+)\n    (.+)$",
    """
gift: {A} has {a} {s}. {B} gives {A} {b} more. How many {s} does {A} have now?
    {A} had {a} {s} and got {b} more. [So|Now] {A} has {x=a+b} {s}.
together: {A} has {a} {s} and {B} has {b} {s}. How many {s} do they have together?
    {A} has {a} and {B} has {b}. [Together|In all] they have {x=a+b} {s}.
more: {A} has {a} {s}. {B} has {b} more {s} than {A}. How many {s} does {B} have?
    {A} has {a} and {B} has {b} more. [So|That means] {B} has {x=a+b} {s}.
lost: {A} had {a} {s} but lost {b} of them. How many {s} are left?
    {A} had {a} and lost {b}. [So|That means] {x=a-b} {s} are left.
difference: {A} found {a} {s} and {B} found {b} {s}. How many more {s} did {A} find?
    {A} found {a} and {B} found {b}. The difference is {x=a-b} {s}.
boxes: There are {f} {s} in each box. {A} has {a} boxes. How many {s} does {A} have?
    {A} has {a} boxes with {f} in each. That is {x=a*f} {s}.
cost: One {o} costs {f} dollars. {A} buys {a} {s}. How many dollars does {A} pay?
    {A} buys {a} at {f} dollars each. [So|Then] {A} pays {x=a*f} dollars.
share: {A} shares {a} {s} equally among {f} friends. How many {s} does each friend get?
    There are {a} {s} for {f} friends. Each friend gets {x=a/f} {s}.
bags: {A} puts {a} {s} into bags of {f}. How many bags does {A} fill?
    There are {a} {s} and each bag takes {f}. [So|Then] {A} fills {x=a/f} bags.
gift-lost: {A} has {a} {s}. {B} gives {A} {b} more, but then {A} loses {c}. How many {s} does {A} have now?
    [With|After] the gift {A} has {x=a+b} {s}. After losing {c}, {A} has {y=x-c} {s}.
two-days: A shop has {a} {s}. It sells {b} on Monday and {c} on Friday. How many {s} are left?
    The shop sold {x=b+c} {s}. [So|Then] {y=a-x} {s} are left.
times-together: {A} has {a} {s}. {B} has {f} times as many {s} as {A}. How many {s} do they have together?
    {B} has {x=a*f} {s}. [Together|In all] they have {y=x+a} {s}.
fewer-together: {A} has {a} {s}. {B} has {b} fewer {s} than {A}. How many {s} do they have in all?
    {B} has {x=a-b} {s}. [Together|In all] they have {y=x+a} {s}.
more-together: {B} has {b} more {s} than {A}, who has {a}. How many {s} do the two have together?
    {B} has {x=a+b} {s}. [Together|In all] they have {y=x+a} {s}.
buy-and-one: {A} buys {a} {s} for {f} dollars each and a {p} for {b} dollars. How many dollars does {A} pay in all?
    The {s} cost {x=a*f} dollars. With the {p} {A} pays {y=x+b} dollars.
change: {A} has {a} dollars and buys {b} {s} for {f} dollars each. How many dollars are left?
    The {s} cost {x=b*f} dollars. [So|Then] {y=a-x} dollars are left.
join-share: {A} has {a} {s} and {B} has {b}. They share all of them equally among {f} friends. \
How many {s} does each friend get?
    [Together|In all] there are {x=a+b} {s}. Each friend gets {y=x/f} {s}.
keep-share: {A} has {a} {s}, keeps {b} and shares the rest equally among {f} friends. How many {s} does each friend get?
    {A} shares {x=a-b} {s}. Each friend gets {y=x/f} {s}.
weeks: {A} has {a} dollars and saves {f} dollars a week for {b} weeks. How many dollars does {A} have then?
    {A} saves {x=b*f} dollars. With the first {a} that is {y=x+a} dollars.
rows: There are {a} rows of {f} {s}. {A} takes {b} {s} away. How many {s} are left?
    The rows have {x=a*f} {s}. After {A} takes {b}, {y=x-b} {s} are left.
bags-more: {A} puts {a} {s} into bags of {f} and then buys {b} more bags. How many bags does {A} have?
    {A} fills {x=a/f} bags. With the new ones {A} has {y=x+b} bags.
spare: {A} made {a} {s} in the morning and {b} later, and {d} of them broke. How many good {s} does {A} have?
    {A} made {x=a+b} {s}. [So|Then] {y=x-d} {s} are good.
three-days: {A} finds {a} {s} on Monday, {b} on Friday and {c} on Sunday, then gives {d} to {B}. \
How many {s} does {A} still have?
    By Friday {A} found {x=a+b} {s}. By Sunday it was {y=x+c} {s}. After the gift {A} has {z=y-d} {s}.
bus: A bus has {a} people. At the first stop {b} get off and {c} get on. At the next stop {d} get on. \
How many people are on the bus?
    After {b} get off there are {x=a-b} people. After {c} get on there are {y=x+c}. At the end there are {z=y+d} people.
two-kinds: {A} buys {a} {s} for {f} dollars each and {b} {t} for {g} dollars each. How many dollars is that in all?
    The {s} cost {x=a*f} dollars. The {t} cost {y=b*g} dollars. In all {A} pays {z=x+y} dollars.
shop-change: {A} has {a} dollars. {A} buys {g} {s} for {f} dollars each and a {p} for {b} dollars. \
How many dollars does {A} have left?
    The {s} cost {x=g*f} dollars. With the {p} it is {y=x+b} dollars. {A} has {z=a-y} dollars left.
chain: {A} has {a} {s}. {B} has {f} times as many as {A}. {C} has {b} more than {B}. \
How many {s} do {A} and {C} have together?
    {B} has {x=a*f} {s}. {C} has {y=x+b} {s}. [Together|In all] {A} and {C} have {z=y+a} {s}.
fewer-times: {A} has {a} {s}. {B} has {b} fewer than {A}. {C} has {f} times as many as {B}. \
How many {s} do {A} and {C} have in all?
    {B} has {x=a-b} {s}. {C} has {y=x*f} {s}. [Together|In all] {A} and {C} have {z=y+a} {s}.
share-more: {A} has {a} {s} and finds {b} more. \
{A} puts them equally into {f} boxes and then adds {c} {s} to each box. How many {s} are in each box?
    {A} has {x=a+b} {s}. Each box gets {y=x/f} {s}. After adding {c} each box has {z=y+c} {s}.
farm: A farm has {a} cows and {f} times as many hens. Then {b} hens are sold. How many animals are left?
    There were {x=a*f} hens. After the sale there are {y=x-b} hens. With the cows {z=y+a} animals are left.
savings: {A} saves {f} dollars a day for {a} days. {B} gives {A} {b} dollars, and {A} spends {c}. \
How many dollars does {A} have?
    {A} saves {x=a*f} dollars. With the gift it is {y=x+b} dollars. After the shopping {A} has {z=y-c} dollars.
team: {A}, {B} and {C} have {a}, {b} and {c} {s}. They share them equally among {f} friends. \
How many {s} does each friend get?
    {A} and {B} have {x=a+b} {s}. With {C} it is {y=x+c} {s}. Each friend gets {z=y/f} {s}.
sell-bags: {A} has {a} {s} and gives {b} to {B}. The rest go into bags of {f}, and {A} sells {g} bags. \
How many bags are left?
    {A} keeps {x=a-b} {s}. They fill {y=x/f} bags. After selling {g}, {z=y-g} bags are left.
""",
    re.MULTILINE,
)
