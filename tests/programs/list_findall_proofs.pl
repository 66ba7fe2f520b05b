% findall/3 collects one element for every proof, all/3 one for every answer.
%% answer: proofs([])  0.3
%% answer: proofs([out])  0.5
%% answer: proofs([out, out])  0.2
%% answer: answers([out])  0.7

0.5::door.
0.4::window.

way(out) :- door.
way(out) :- window.
proofs(L) :- findall(W, way(W), L).
answers(L) :- all(W, way(W), L).

query(proofs(_)).
query(answers(_)).
