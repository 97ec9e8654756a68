"""Surrey Audio-Visual Expressed Emotion database."""
