"""Names of months and of days of the week in the larger European languages, folded."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Full names and abbreviations of CLDR 47 for en, de, fr, es, it, pt, nl, pl, ru, uk, cs, sk, hu,
# ro, bg, el, sv, da, nb, fi, tr, ms and id, as they stand in a date and by themselves; other
# spellings of de, de-AT, ms and id; full names of ca, lt and lv; and I to XII.
_NAMES: Final = (
    "ene enero gen gennaio i ian ianuarie jan janeiro januar januara januari january janv janvier "
    "janner led leden ledna oca ocak sty styczen stycznia tammi tammikuu tammikuuta ιαν "
    "ιανουαριοσ ιανουαριου січ січень січня янв январь января яну януари gener sausio sausis "
    "janvaris janvari janvara",
    "feb febbraio feber febr febrero februar februara februari februarie february fev fevereiro "
    "fevr fevrier helmi helmikuu helmikuuta ii lut lutego luty sub subat uno unor unora φεβ "
    "φεβρουαριοσ φεβρουαριου лют лютии лютого фев февр февраль февраля февруари febrer vasario "
    "vasaris februaris",
    "bre brezen brezna iii maalis maaliskuu maaliskuuta maart mar marc marca march marcius marco "
    "marec mars mart martie marts marz marzec marzo mrt mrz mac maret μαρ μαρτιοσ μαρτιου бер "
    "березень березня мар март марта kovo kovas marta",
    "abr abril apr april aprila aprile aprilie aprilis avr avril dub duben dubna huhti huhtikuu "
    "huhtikuuta iv kwi kwiecien kwietnia nis nisan απρ απριλιοσ απριλιου апр апрель апреля април "
    "квіт квітень квітня balandzio balandis aprili",
    "kve kveten kvetna mag maggio mai maio maj maja majus may mayis mayo mei touko toukokuu "
    "toukokuuta v μαι μαιοσ μαιου маи мая трав травень травня maig geguzes geguze maijs maija",
    "cerven cervna cvn cze czerwca czerwiec giu giugno haz haziran iun iunie juin jun juna june "
    "junho juni junio junius kesa kesakuu kesakuuta vi ιουν ιουνιοσ ιουνιου июн июнь июня черв "
    "червень червня юни juny birzelio birzelis junijs junija",
    "cervence cervenec cvc heina heinakuu heinakuuta iul iulie juil juillet jul jula julho julai "
    "juli julio julius july lip lipca lipiec lug luglio tem temmuz vii ιουλ ιουλιοσ ιουλιου июл "
    "июль июля лип липень липня юли juliol liepos liepa julijs julija",
    "ago agosto agu agustos aout aug agt agustus august augusta augusti augustus augusztus ogo "
    "ogos elo elokuu elokuuta sie sierpien sierpnia srp srpen srpna viii αυγ αυγουστοσ αυγουστου "
    "авг август августа серп серпень серпня agost rugpjucio rugpjutis augusts",
    "eyl eylul ix sep sept september septembra septembre septembrie septiembre set setembro "
    "settembre syys syyskuu syyskuuta szept szeptember wrz wrzesien wrzesnia zar zari σεπ "
    "σεπτεμβριοσ σεπτεμβριου вер вересень вересня сент сентябрь сентября сеп септември rugsejo "
    "rugsejis septembris septembri",
    "eki ekim loka lokakuu lokakuuta oct october octobre octombrie octubre okt oktober oktobra "
    "ott ottobre out outubro paz pazdziernik pazdziernika rij rijen rijna x οκτ οκτωβριοσ "
    "οκτωβριου жовт жовтень жовтня окт октомври октябрь октября spalio spalis oktobris oktobri",
    "kas kasim lis listopad listopada listopadu marras marraskuu marraskuuta noiembrie nop "
    "nopember nov november novembra novembre novembro noviembre xi νοε νοεμβριοσ νοεμβριου лист "
    "листопад листопада ное ноември нояб ноябрь ноября lapkricio lapkritis novembris novembri",
    "ara aralik dec december decembra decembre decembrie des desember dis disember dez dezember "
    "dezembro dic dicembre diciembre gru grudnia grudzien joulu joulukuu joulukuuta pro prosince "
    "prosinec xii δεκ δεκεμβριοσ δεκεμβριου груд грудень грудня дек декабрь декабря декември "
    "desembre gruodzio gruodis decembris decembri",
)
#: an umlaut as two letters
_TWO_LETTERS = re.compile(r"([aou])e")
#: the number of each month, by its folded name
MONTHS: Final = {name: month for month, names in enumerate(_NAMES, 1) for name in names.split()}

_DAYS: Final = (
    "car carsamba cmt cs csutortok ct ctvrtek cum cuma cumartesi czw czwartek di dienstag dim "
    "dimanche dinsdag do dom domenica domingo donderdag donnerstag dum duminica fr fre fredag "
    "freitag fri friday gio giovedi hetfo jeu jeudi joi jue jueves ke kedd keskiviikko "
    "keskiviikkona la lauantai lauantaina lor lordag lun lundi lunedi lunes luni lør lørdag "
    "ma maanantai maanantaina maandag man mandag mar mardi martedi martes marti mer mercoledi "
    "mercredi mi mie miercoles miercuri mittwoch mo mon monday montag ne nedela nedele niedz "
    "niedziela ons onsdag pa patek paz pazar pazartesi pe pentek per perjantai perjantaina "
    "persembe pi piatek piatok po pon pondeli pondelok poniedziałek pt pzt qua quarta-feira "
    "qui quinta-feira sa sab sabado sabato sal sali sam sambata samedi samstag sat saturday "
    "seg segunda-feira sex sexta-feira so sob sobota son sondag sonntag sr sroda st streda "
    "stvrtok su sun sunday sunnuntai sunnuntaina sze szerda szo szombat søn søndag ter terca- "
    "feira thu thursday ti tiistai tiistaina tir tirs tirsdag tis tisdag to tor tors torsdag "
    "torstai torstaina tue tuesday ut utery utorok vasarnap ven vendredi venerdi vie viernes "
    "vin vineri vr vrijdag wed wednesday wo woensdag wt wtorek za zaterdag zo zondag δευ "
    "δευτερα κυρ κυριακη παρ παρασκευη πεμ πεμπτη σαβ σαββατο τετ τεταρτη τρι τριτη "
    "воскресенье вс вт вторник вівторок нд неделя неділя петък пн понеделник понедельник "
    "понеділок пт пятница пятниця сб середа ср среда сряда суббота субота събота четвер "
    "четверг четвъртък чт isnin selasa rabu khamis jumaat sabtu ahad senin kamis jumat minggu"
)
#: days of the week, folded
WEEKDAYS: Final = frozenset(_DAYS.split())


def month_of(name: str) -> int | None:
    """The month that a word names, in capitals or not, with its accents, without or, of umlauts,
    as two letters: ``März``, ``MARZ``, ``Maerz``."""
    folded = folded_name(name)
    return MONTHS.get(folded) or MONTHS.get(_TWO_LETTERS.sub(r"\1", folded))


def folded_name(name: str) -> str:
    """A name without case, accents and dots, as the tables have it."""
    parts = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(part for part in parts if not unicodedata.combining(part))
    return plain.replace("\u0131", "i").strip(".'\u2019\u02bc")
