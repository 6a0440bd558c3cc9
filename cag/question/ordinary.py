"""Words that questions are made of. A name that is spelled like one needs more than its letters to be meant.

`ASKING`: what anything may be asked with; as a name only where it is pointed at ("the default namespace"). `ordinary`:
also the other words of everyday and of operations; they are never taken for a slip of the pen or for half a name.
"""

from functools import lru_cache
from typing import Final

_ASKED_WITH: Final = """
a about after afternoon again alert alerts all also always am an and another any anybody anyone anything apart app
application applications apps april are around as at august away back be because been before being below best better
between both but by can cannot cause caused causes cluster clusters come compare compared container containers could
current currently day days december default deployment deployments did different do does doing done down due during
each either else enough error errors even evening event events ever every everybody everyone everything everywhere
explain fail failed failing fails far february few fine first fix fixed for found friday from full further gave get
gets getting give go goes going gone good got had happen happened happening happens has have having he health healthy
hello help her here hey hi him his hour hours how i if in incident incidents instead into is issue issues it its
itself january july june just keep keeps kind know last late lately later latest least less let like list little log
logs long look looked looking looks lot made main make makes many march may maybe me mean means metric metrics
midnight might minute minutes monday month months more morning most much must my namespace namespaces need needs never
new newest next night no nobody node nodes none noon nor not nothing november now october of off often ok okay old on
once one ones only or other others our out over own per please pod pods possible previous problem problems put quite
rather ready really reason recent recently right runbook runbooks running same saturday say says second seconds see
seem seems seen september service services shall she should show shown shows since slow so some somebody someone
something somewhere soon start started state status step steps still stop stopped such sunday take taken tell test
than thank thanks that the their them then there these they thing things think this those though through thursday time
times to today together tomorrow too trouble try tuesday two under unhealthy until up upon us use used uses using
usual usually very via want was way we wednesday week weeks well went were what when where whether which while who
whole whom whose why will with within without workload workloads wrong year yes yesterday yet you your
"""  # fmt: skip

_OTHERS: Final = """
able abort above absent accept access accident account accurate across action active actual add address adjust admin
advice affect afford agent ago agree ahead aim alarm alias alive allocate allow almost alone along already alter
amount analyse analysis analyze annotation announce annoy answer api appear apply approve archive area argue argument
arise arrive article ask asset assign assist assume attach attack attempt attend audit auth authentication author
authority auto automatic available average avoid aware backend backup bad bake balance band bandwidth bar base basic
batch bear beat became become begin behave behavior behaviour behind believe benefit beside beyond big bill bind bit
black blame blank bleed blew block blue board body book boot border bother bottle bottleneck bottom bought bounce
bound box branch brand breach break brief bring broke broken broker brother brought browse browser bucket budget
buffer bug build built bulk bump burn burst bus business busy buy byte cable cache calculate call calm came cancel
capacity capture card care carry case cast catch category caught ceiling center central centre certain certificate
chain chance change channel chapter character charge chart chat cheap check child choice choke choose circuit city
claim class clean clear click client climb clock clone close cloud code cold collapse collect collection color colour
column combine command comment commit common communicate communication company complain complaint complete complex
component compress compute concern condition confirm conflict confuse connect connection consider consist console
constant consume consumer contact contain content context continue contract control controller convert cool coordinate
copy core corner correct corrupt cost count counter country couple course cover crash create created credential
critical cron cross crowd cube culprit cure curious curl current custom customer cut cycle daemon daily damage danger
dark dashboard data database date dead deadline deal death debug decide decision declare decline decrease deep
definite degrade delay delete delimiter deliver delta demand deny depend dependency deploy depth derive describe
design desire destroy detail detect determine develop developer device diagnose die differ difference difficult direct
directory dirty disable disappear discard disconnect discover disk display distribute disturb divide dns document
domain doubt downtime draft drain draw drew drift drive drop dry dump duplicate duration dynamic eager earlier early
ease easily east easy edge edit editor effect effort eight elastic element eleven email emergency emit empty enable
encounter encrypt end endpoint enforce engine engineer enjoy enter entire entity entry environment equal error
escalate escape especially establish estimate evaluate evenly evict evident exact examine example exceed except
exception excess exclude excuse execute exhaust exist exit expand expect expensive experience expert expire explore
export expose express extend extra extreme eye face fact factor failover failure fair fall false family fan fast fatal
fault favor feature fed feed feel fell fetch field fight figure file fill filter final find finger finish fire
firewall firing fit five fix flag flap flat flew flight flip float flood floor flow flush focus folder follow food
foot force forget fork form format forward fought four fraction frame free freeze frequent fresh friend front frontend
froze full function future gain gap garbage gate gateway gather gauge general generate genuine glance global goal gold
grace grade gradual grant graph great green grep grew group grow growth guess guide guy half halt hand handle hang
hard hardware harm hash hate header heal heap hear heart heartbeat heat heavy height held hence hidden hide high hint
history hit hold home honest hook hop hope horizontal host hot house huge human hundred hung hurt idea identical
identify idle ignore ill image imagine immediate impact implement important improve include income increase indeed
index indicate influence info inform infra infrastructure ingress initial inject inner input insert inside inspect
install instance instant integer intend interest interface intermittent internal internet interrupt interval invalid
invent investigate invoke involve isolate item job join joke journal judge jump justify keen key kick kill knew
kubernetes label lack lag land language large latency layer lead leader leak lean learn leave led left legacy length
lesson letter level liable library license lie life lift light likely limit line link live liveness load loader loaf
local locate lock logging logic login longer loop loose lose loss lost loud love low lower luck machine machines mail
maintain maintenance major manage manager manual map march margin mark market mask mass master match mate material
matter maximum meant measure measurement mechanism median medium meet member memory mention menu merge message met
method middle migrate million mind minimum minor mirror miss missing mistake mix mode model modern modify module
moment money monitor monitoring mount mouse move movement multiple mutual name narrow native nature near neat
necessary neither nest net network nice nine noise noisy normal north notable note notice notification notify number
object observe obvious occasion occur odd offer office offline offset older online open operate operation operator
opinion opposite option order ordinary origin original ought outage outer outgoing output outside overall overflow
overload override owner pace pack package packet page paid pain pair panel panic paper parallel parent part partial
particular partition partner pass password past paste patch path pattern pause peak peer pending people percent
perfect perform performance perhaps period permanent permission permit persist person phase phone pick picture piece
pile pin ping pipe pipeline place plain plan planet platform play plenty plot plug point poison policy poll pool poor
popular port portal position positive post potential power practice precise prefer prefix prepare presence present
press pressure pretty prevent primary print prior priority private probe procedure proceed process processing prod
produce producer production profile program progress project promise prompt proof proper property protect protocol
prove provide provision proxy public publish pull pulse purchase pure purge purpose push quality quarter query
question queue quick quiet quit quorum quota quote race rack raise ran random range rapid rare rate ratio raw reach
react read reader readiness real reality realize rebalance rebuild rebuilt receive reclaim recommend reconcile record
recover recovery recreate red redirect reduce refer reference reflect refresh refuse regard region register registry
regress regular reject relate relation relative release reliable reload rely remain remark remember remind remote
remove rename render renew repair repeat replace replica replicate replicated reply report request require rescue
research reserve reset resize resolve resource respect respond response rest restart restore restrict result resume
retain retention retire retry return reveal revert review revision revoke rewrite rich rise risk road robust role roll
rollback rollout room root rotate rotation rough round route router row rule run runtime safe safety sale sample sank
save scale scan scare scatter scene schedule scheduler schema scope score scrape screen script search seat secondary
secret section secure security seek segment select self sell send sense sensor sent separate sequence series serious
serve server session set setting settle setup seven severe severity shape shard share sharp shed sheet shell shift
short shot shout shrank shut shutdown shy sick side sign signal signature significant silence silent similar simple
simply single sink site situation six size skip sleep slice slide slightly slot small smart smell smooth snapshot
social socket soft software sold solution solve sooner sort sound source south space span spare spawn speak special
specific speed spend spent spike spill spin split spoke spot spread spun stable stack staff stage staging stale stall
stand standard standby stare static station stay steady stick stone stood storage store storm story straight strange
stream stress strict strike string strong struck structure struggle stuck study stuff stung style subject submit
subset succeed success sudden suffer suffix suggest suit sum summary supply support suppose sure surface surge
surprise survive suspect suspend swap sweep switch swung symptom sync system table tag tail talk target task taught
team technical temporary ten tend term terminate text theme therefore thick thin third thirty thought thousand thread
threat three threshold threw throttle throughput throw thrown thus tick tidy tight tiny title token told took tool top
topic total touch tough toward trace track trade traffic trail train transaction transfer transient transit translate
treat tree trend trick tried trigger trip true truncate trust truth tune turn twelve twenty twice type typical unable
unavailable understand understood unexpected unhappy uninstall unique unit unknown unless unlikely unreachable
unstable unusual update upgrade upload upper upset upstream uptime url usage user vacuum valid validate value variable
variant various vary verify version vertical video view virtual visible visit voice volume vote wait wake walk wall
warm warn warning waste watch water weak web weight weird welcome west wheel white wide wild window wipe wire wise
wish withdrew won wonder word work worker world worry worse worst worth write writer writing written yield young zero
zone
"""  # fmt: skip
ASKING: Final = frozenset(_ASKED_WITH.split())
_ORDINARY: Final = ASKING | frozenset(_OTHERS.split())
_ENDINGS: Final = (
    ("s", ""), ("es", ""), ("ies", "y"), ("d", ""), ("ed", ""), ("ied", "y"), ("ing", ""), ("ing", "e"), ("r", ""),
    ("er", ""), ("ers", ""), ("or", "e"), ("ly", ""), ("ily", "y"), ("ion", ""), ("ion", "e"), ("ions", "e"),
    ("ment", ""), ("ness", ""), ("able", ""), ("able", "e"), ("al", ""), ("est", ""), ("er", "e"), ("ors", "or"),
    ("ability", "able"), ("ful", ""), ("less", ""), ("y", ""),
)  # fmt: skip
_BEFORE: Final = ("un", "re", "mis", "over", "dis", "non", "pre", "under")


@lru_cache(maxsize=20_000)
def ordinary(word: str) -> bool:
    """Whether a lower-case word is one of everyday, in any of its forms."""
    if len(word) > 24:
        return False
    return _plain(word) or any(word.startswith(front) and _plain(word.removeprefix(front)) for front in _BEFORE)


def _plain(word: str) -> bool:
    if word in _ORDINARY:
        return True
    stems = [word.removesuffix(ending) + instead for ending, instead in _ENDINGS if word.endswith(ending)]
    stems += [stem[:-1] for stem in stems if len(stem) > 3 and stem[-1] == stem[-2]]  # stopping, stop
    return any(len(stem) > 2 and stem in _ORDINARY for stem in stems)
