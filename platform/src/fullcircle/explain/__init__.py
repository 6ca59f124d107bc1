"""Explanation: how much each raw column moved each answer (SHAP), as values and as pictures."""
