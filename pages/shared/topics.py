"""The twelve MahaNews topics in Marathi and English, the names of languages, and texts to try."""

from pages.shared.language import say

MARATHI = {
    "Auto": "वाहन",
    "Bhakti": "भक्ती",
    "Crime": "गुन्हे",
    "Education": "शिक्षण",
    "Fashion": "फॅशन",
    "Health": "आरोग्य",
    "International": "आंतरराष्ट्रीय",
    "Manoranjan": "मनोरंजन",
    "Politics": "राजकारण",
    "Sports": "क्रीडा",
    "Tech": "तंत्रज्ञान",
    "Travel": "पर्यटन",
}
ENGLISH = {"Auto": "Vehicles", "Bhakti": "Devotion", "Manoranjan": "Entertainment", "Tech": "Technology"}
"""Labels whose English name differs from the label."""

SAMPLES = (
    "मुसळधार पावसात रंगलेल्या अंतिम सामन्यात कोल्हापूरच्या संघाचा एका गोलने विजय",
    "पावसाळ्यात डेंग्यूपासून बचाव कसा कराल? डॉक्टरांनी सांगितले सहा सोपे उपाय",
    "एका चार्जमध्ये चारशे किलोमीटर धावणारी नवी इलेक्ट्रिक मोटार पुण्यात सादर",
    "अर्थसंकल्पावरून विधानसभेत गदारोळ; विरोधकांचा सभात्याग",
    "बारावीच्या परीक्षेचे वेळापत्रक जाहीर, विद्यार्थ्यांना तयारीसाठी दोन महिने",
    "कोकणातील हे पाच शांत समुद्रकिनारे हिवाळ्यात नक्की पाहा",
    "भाडेकरू बनून घरफोडी करणाऱ्या दोघांना अटक, तीस तोळे दागिने हस्तगत",
    "नव्या अपडेटनंतर फोनची बॅटरी जास्त वेळ टिकणार, कंपनीचा दावा",
    "आषाढी एकादशीनिमित्त पंढरपुरात विठ्ठलाच्या दर्शनासाठी भाविकांची रांग",
    "पहिल्याच आठवड्यात या मराठी चित्रपटाने कमावले वीस कोटी",
    "लग्नसराईत पैठणीला पर्याय ठरतील या पाच हलक्या साड्या",
    "दोन देशांमधील युद्धविरामाची चर्चा जिनिव्हात पुन्हा सुरू",
)
"""One headline a topic, written for this page."""
HINDI = "राज्य में भारी बारिश के कारण सभी विद्यालय दो दिन बंद रहेंगे"
NONSENSE = "फुरळक डांबुशे ग्रिमटो हळपट झुंडवी कोपरळ"
NUMBERS = "१२,३४५ ₹ … ?!"
ODD = (HINDI, NONSENSE, NUMBERS)
"""Texts that have no topic for a model of Marathi headlines; it had better say that it is not sure."""


def marathi(label: str) -> str:
    """Return a topic in Marathi; a label outside MahaNews stays as it is."""
    return MARATHI.get(label, label)


def english(label: str) -> str:
    """Return a topic in English; a label outside MahaNews stays as it is."""
    return ENGLISH.get(label, label)


def bilingual(label: str) -> str:
    """Return both names of a topic, or the label alone where there is no other."""
    name = MARATHI.get(label)
    return label if name is None else f"{name} · {english(label)}"


def sample(text: str) -> str:
    """Return a sample as the list of samples shows it; what is no Marathi headline says so."""
    if text == HINDI:
        return say("Hindi, not Marathi: {sample}", sample=text)
    if text == NONSENSE:
        return say("Nonsense words: {sample}", sample=text)
    if text == NUMBERS:
        return say("No letters: {sample}", sample=text)
    return text or say("Choose a headline, or write below")


def language(code: str) -> str:
    """Return the name of a language by its ISO 639 code."""
    if code == "mr":
        return say("Marathi")
    if code == "hi":
        return say("Hindi")
    if code == "en":
        return say("English")
    import pycountry  # it reads all 7,000 languages, which only a rare name is worth

    found = pycountry.languages.get(**{"alpha_2" if len(code) == 2 else "alpha_3": code})
    return str(found.name) if found is not None else code
