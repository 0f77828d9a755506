"""English words whose part of speech their ending does not tell, written for this project.

A word that can be several parts of speech stands once, where it is most usual in edited English.
"""

from collections.abc import Mapping


def _by_word(lists: Mapping[str, str]) -> dict[str, str]:
    """The class of each word of the lists."""
    found = {word: name for name, words in lists.items() for word in words.split()}
    assert len(found) == sum(len(words.split()) for words in lists.values()), "a word stands twice"
    return found


# Words of classes that English does not add to.
CLOSED = _by_word(
    {
        "determiner": (
            """a an the this these those some any no every each either neither another both all such many much few
    several half enough plenty"""
        ),
        "possessive": "my your his her its our their whose thy",
        "pronoun": (
            """i you he she it we they me him us them mine yours hers ours theirs thee thou ye myself yourself himself
    herself itself ourselves yourselves themselves oneself someone somebody something anyone anybody anything
    everyone everybody everything nobody nothing none others there"""
        ),
        "wh-word": (
            """who whom which what when where why how whoever whomever whichever whatever whenever wherever """
        ),
        "preposition": (
            """of in on at by for with from into onto upon about above across after against along alongside amid amidst
    among amongst around as aside atop before behind below beneath beside besides between beyond circa
    concerning considering despite down during except excluding following given including inside like minus
    near notwithstanding off opposite out outside over past per plus regarding round since than through
    throughout till toward towards under underneath underway unlike until up versus via vs within without
    according due owing ago"""
        ),
        "coordinator": "and or but nor yet &",
        "subordinator": (
            "that if because although though while whereas whilst unless whether lest once provided wherein"
            " whereby"
        ),
        "particle": "to not n't",
        "auxiliary": (
            """be am is are was were been being have has had having do does did doing done ai ain aren isn wasn weren don
    doesn didn hasn hadn"""
        ),
        "modal": (
            "ca wo can could may might must shall should will would cannot ought couldn wouldn shouldn mustn"
            " needn"
        ),
        "adverb": (
            """however also only just then now here very too so still even ever never always often sometimes again
    already almost quite rather perhaps maybe soon later thus hence therefore moreover furthermore
    nevertheless nonetheless otherwise instead meanwhile afterwards afterward thereafter together away back
    forth forward forwards backwards ahead apart abroad overseas elsewhere somewhere anywhere everywhere
    nowhere well far more most less least else indeed anyway twice thrice today tomorrow yesterday tonight
    nowadays upstairs downstairs downstream upstream northward southward eastward westward northwards
    southwards eastwards westwards inland ashore aboard offshore onwards onward upward upwards downward
    downwards seldom altogether somehow somewhat likewise sideways alone aloud etc e.g i.e namely yes oh ah
    please twofold worldwide nationwide statewide citywide offscreen onscreen midway halfway anymore anew
    overnight indoors outdoors thereby therein thereof hereby herein hereafter heretofore"""
        ),
        "number": (
            """one zero two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million
    billion trillion dozen hundreds thousands millions billions dozens"""
        ),
        "ordinal": (
            """first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth
    fifteenth sixteenth seventeenth eighteenth nineteenth twentieth thirtieth hundredth last next"""
        ),
    }
)

# Words of open classes. Nouns are listed where they end like something else, or are so short that they look
# like the beginning of a word.
OPEN = _by_word(
    {
        "adjective": (
            """new other same own large small high long short early late old young great good best better bad worse worst
    big little low full free open close strong weak heavy light hard soft fast slow quick deep wide broad
    narrow thin thick dark bright clear clean dirty dry wet hot cold warm cool rich poor true false right
    wrong main major minor former latter present previous prior further earlier nearby upper lower inner outer
    greater larger smaller higher longer shorter older younger newer faster slower stronger weaker lighter
    heavier darker deeper wider closer earliest latest largest smallest highest lowest longest shortest oldest
    youngest greatest strongest biggest fastest nearest closest newest finest bigger easier easy busy happy
    sad angry ready steady wealthy healthy lucky empty pretty likely unlikely friendly daily weekly monthly
    yearly lonely lovely holy ugly elderly deadly costly silly orderly scholarly unfriendly different similar
    important significant ancient recent current independent permanent prominent frequent subsequent
    consistent sufficient efficient excellent violent silent intelligent urgent evident apparent innocent
    extant relevant dominant distant pregnant constant instant brilliant elegant reluctant abundant dependent
    inherent convenient magnificent resident imminent adjacent military primary secondary temporary
    contemporary ordinary necessary revolutionary literary legendary voluntary elementary preliminary solitary
    imaginary monetary planetary evolutionary extraordinary honorary auxiliary complementary supplementary
    parliamentary arbitrary customary hereditary red blue green white black brown yellow grey gray pink purple
    orange golden wooden modern northern southern eastern western central common human male female single
    double whole entire various certain possible able unable available responsible popular regular particular
    familiar solar nuclear lunar circular polar linear muscular vertebrate private separate ultimate accurate
    adequate appropriate immediate moderate desperate legitimate approximate alternate intimate corporate
    ornate elaborate inaccurate inappropriate subordinate illegitimate unfortunate fortunate delicate complete
    concrete discrete obsolete rare sure pure mature secure obscure unsure pale mere sole stable noble humble
    simple multiple ample subtle gentle brief fresh rough tough smooth sharp flat straight tall bold mild wild
    blind kind loud proud vast exact direct correct perfect strict distinct extinct abstract intact alive dead
    born aware unaware alike mid non dear fair fine nice wise strange huge severe extreme supreme remote safe
    brave crude cute diverse inverse reverse adverse intense dense immense tense loose sacred naked wicked
    unprecedented aged advanced mixed indigenous elder eldest senior junior inferior superior interior
    exterior ulterior anterior posterior vulnerable favorite favourite definite indefinite infinite finite
    polite elite absolute remarkable medium premium minimum maximum overall alleged ill sick mad glad rural
    urban suburban foreign overhead mental unique antique oblique grotesque picturesque opaque bizarre divine
    genuine feminine masculine marine feline canine equine offline online interested unknown known mainstream
    upcoming ongoing outstanding underlying surrounding interesting surprising leading remaining missing
    promising neighbouring neighboring existing exciting fascinating charming everlasting forthcoming incoming
    outgoing willing unwilling american british english french german irish australian european chinese
    japanese canadian roman indian italian russian spanish greek african scottish welsh dutch polish swedish
    norwegian danish finnish turkish egyptian persian arab jewish christian muslim catholic protestant mexican
    brazilian korean vietnamese soviet victorian byzantine asian caribbean ottoman hungarian austrian swiss
    croatian serbian czech ukrainian israeli iraqi iranian pakistani filipino cuban belgian portuguese
    romanian bulgarian"""
        ),
        "verb": (
            """make take give get go come see know think say tell find become begin leave keep let put seem feel bring
    hold write stand hear run pay meet sit speak lie lead grow lose fall send build understand draw break
    spend rise drive buy wear choose throw catch fight teach eat sell sing swim fly sleep forget forgive hide
    ride shake steal stick strike swear tear wake win bear bend bind bite blow breed burn cling creep dig feed
    flee forbid freeze grind hang hurt kneel leap learn lend shoot shrink slide spread sting stink strive
    swell swing thrive weep add allow appear apply arrive ask assume attend avoid believe belong borrow carry
    collect commit compete complain compose confirm connect consider consist contain continue contribute
    convert convince cope create cry decide declare defend define deliver deny depend derive describe deserve
    destroy determine develop die differ disappear discover discuss divide earn emerge employ enable encourage
    enjoy ensure enter escape establish evolve examine exist expand expect explain express extend fail finish
    fit follow gather generate happen hate help identify ignore imply improve include indicate inform insist
    inspire install intend introduce invest involve join kill laugh listen live locate maintain manage mention
    migrate mix need obtain occur occupy offer operate oppose participate perform permit persuade pick play
    possess prefer prepare prevent proceed produce protect prove provide publish pull pursue push qualify
    raise reach read realise realize receive reckon recognise recognize recommend reduce refer reflect refuse
    regain regard reject relate rely remain remember remove replace represent require resemble resign resist
    resolve respond restore retain retire retrieve reveal save seek select serve settle solve start stay stop
    succeed suffer suggest suppose surrender survive talk tend thank travel treat try turn urge use vary wait
    walk want warn wash watch wish wonder worry exceed embed bless confess dismiss guess harass pass assess
    focus appeal heal conceal acquire admire adapt adopt advise agree aim announce apologize argue arise
    arrange assert assign assist attach attain attract await ban behave blame cease celebrate climb combine
    communicate compare comprise conclude conduct confuse conquer consume contend cooperate cut decrease
    dedicate delete demonstrate deploy descend detect disagree dissolve donate drag drop eliminate embark
    embrace emphasise emphasize engage enhance enlarge enlist entertain evaluate evoke exclude execute exhibit
    exploit explore expose facilitate fill foster fulfil fulfill guarantee hire illustrate imagine impose
    incorporate increase inhabit inherit initiate inquire integrate interpret intervene investigate invite
    isolate justify launch lift modify motivate move negotiate notice notify obey observe omit overcome
    overlook overtake perceive persist portray pose praise predict prohibit promote propose provoke quit
    rebuild recall recover regulate reinforce relax renew repair repeat reproduce rescue resume return reunite
    revive ruin score secede speculate submit surpass surround sustain swallow terminate threaten tolerate
    trace transform transmit undergo undertake unite upgrade utilise utilize withdraw withstand yield"""
        ),
        "verb -ed": (
            """used died tied made took taken gave got gotten went gone came saw seen knew thought said told found became
    began begun left kept seemed felt brought held wrote written stood heard ran paid met sat spoke spoken lay
    led grew grown lost fell fallen sent built understood drew drawn broke broken spent rose risen drove
    driven bought wore worn chose chosen threw thrown caught fought taught ate eaten sold sang sung swam flew
    flown slept forgot forgotten hid hidden rode ridden shook shaken stole stolen stuck struck stricken swore
    sworn tore torn woke won bore borne bent bound bit bitten blew blown bred burnt crept dug fed fled
    forbidden froze frozen hung laid leapt learnt lent shot shrank shut slid stung strove swollen swung wept
    withdrew withdrawn arose arisen awoke overcame overtook overtaken undertook undertaken underwent undergone
    rebuilt foresaw mistook mistaken outran overran oversaw overseen overthrew overthrown sank sunk sprang
    sprung spun cast shone sought sped split stank trod proven sewn sown mown shorn slain slew smote hit set
    undid undone upheld withheld withstood redrew retook retaken rewrote rewritten"""
        ),
        "noun": (
            """king ring thing spring string wing morning evening building ceiling wedding sibling viking sterling
    lightning pudding clothing nothingness darling dumpling duckling farthing shilling sling offspring bearing
    beijing painting meeting engineering housing boxing wrestling racing shipping rating ranking setting
    ending landing ruling hearing feeling seed weed speed creed greed deed bed shed hatred kindred infrared
    steed sled bobsled family assembly butterfly supply reply ally rally belly bully jelly monopoly anomaly
    dragonfly italy tally folly lily exercise promise enterprise expertise paradise franchise merchandise
    surprise cruise noise premise disguise prize size maize state date rate gate plate mate fate debate
    climate candidate estate senate estimate associate delegate chocolate template certificate magistrate
    pirate syndicate graduate advocate consulate electorate mandate palate pomegranate carbonate nitrate
    phosphate sulfate protectorate directorate emirate sultanate playmate teammate inmate classmate festival
    animal hospital capital journal signal metal medal goal canal rival arrival survival material official
    individual cathedral portal mineral approval removal proposal trial burial terminal admiral crystal pedal
    petal deal meal seal coal arsenal criminal interval manual ritual serial cardinal carnival revival
    withdrawal dismissal retrieval referral rehearsal denial memorial editorial tutorial cannibal mammal
    funeral corporal marshal scandal sandal jackal general coral betrayal portrayal renewal disposal refusal
    upheaval potential principal ideal music topic traffic critic clinic fabric logic magic mechanic academic
    epidemic panic picnic comic arctic tropic relic mosaic rhetoric arithmetic statistic characteristic cleric
    lyric tunic ethic republic public archive detective motive executive representative narrative initiative
    objective olive perspective alternative relative locomotive collective directive incentive derivative dive
    hive cave wave slave glove stove sleeve nerve reserve table cable fable variable vegetable constable bible
    mouthful handful syllable series species politics physics mathematics economics athletics news chaos bus
    gas lens virus status campus bonus corpus genus census consensus chorus circus nucleus fungus radius
    surplus basis analysis crisis emphasis thesis hypothesis axis oasis tennis debris iris access process
    success business address princess congress progress mass class glass grass cross loss boss dress press
    stress mess chess fortress witness duchess goddess wilderness illness kiss bass brass compass headquarters
    means barracks crossroads atlas canvas texas christmas pancreas people police men women children feet
    teeth mice geese oxen cattle city county country army navy story history century company party body day
    way area art age end man woman war son sun sea ship road town team time year week month hour name game
    film song book band part work role line life wife house home land lake river bay island hill north south
    east west side top base site form group club queen lord law act aid air arm bar bat bell bid bill bird
    boat boy box cap car card case cat cell code coin cost crew crop cup data deck desk dog door drug duke
    duty ear edge egg eye face fact fan farm father fear fire fish flag food foot fort fuel girl god gold gun
    guy hair hall hand hat head heart heat hero host hull idea iron item jazz jet job joke key kid km mph mm
    cm ft mi kg lb lady leaf leg link list loan lot luck mail meat mile milk mind mode mood moon mud neck
    night note oil page pair park path peak peer pilot plan plot poem poet pole pool port post pot race rail
    rain rank rap rat raid ray rest riot risk rock roof room root rope row rule sail sale salt sand scale seat
    sex shop show sign skin sky snow soil sort soul star stem step storm tail tank task tax tea term test text
    tide tip title tone tool tour tree trip tube type unit user van vein view vote wall water weight wheel
    wind wine wood word yard zone ice map cow pop"""
        ),
        "plural noun": "works features parts stages records plays scores reports notes",
    }
)
