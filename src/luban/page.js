"use strict";
const page = document.documentElement;
const show = (language) => { page.dataset.lang = language; page.lang = language; };
if ((navigator.language || "").startsWith("zh")) show("zh");
if (location.hash === "#zh" || location.hash === "#en") show(location.hash.slice(1));
document.getElementById("language").addEventListener("click", () => show(page.dataset.lang === "zh" ? "en" : "zh"));
