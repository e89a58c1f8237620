"""The twelve MahaNews topics in Marathi and English, and six headlines to try."""

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
)


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
