/* Order of search results: pages that explain before the reference, and the reference of one
   imputer before the same methods of the others. */
var Scorer = {
  score: ([page, title, anchor, description, score, file, kind]) => {
    if (kind === "object" && /^Python (class|function)/.test(description)) return score + 40;
    if (page === "choosing") return score + 40;
    if (/^(questions|getting_started|install|guide\/|coming_from\/)/.test(page)) return score + 25;
    if (/^(methods\/|glossary|results)/.test(page)) return score + 10;
    if (/^project\//.test(page)) return score - 10;
    if (/^api\/skmissvae\.(MVAE|MIWAE|MissVAE|MissSVAE|MissIWAE|DeMissVAE)Imputer/.test(page))
      return anchor ? score - 15 : score;
    return score;
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
