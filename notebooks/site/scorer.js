// What the search puts first: words that are explained, then lessons; last the code and its history.
var Scorer = {
  score: ([page, , , , score]) => score - (/CHANGELOG|CONTRIBUTING|tests/.test(page) ? 50 : 0),
  objNameMatch: 4, objPartialMatch: 2, objPrio: {0: 0, 1: 0, 2: -5}, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};
