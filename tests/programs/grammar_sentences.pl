% A probabilistic grammar: derivations of a short sentence as a list.
%% answer: sentence([cat, cat])  0.09
%% answer: sentence([dog, cat])  0.09
%% answer: sentence([big, cat])  0.036
%% answer: sentence([old, cat])  0.084
%% answer: ends_with_noun  0.6
%% answer: repeats  0.2728

0.6::rule(T, noun); 0.4::rule(T, adjective) :- place(T).
place(1).
place(2).
0.5::word(T, cat); 0.5::word(T, dog) :- place(T), rule(T, noun).
0.3::word(T, big); 0.7::word(T, old) :- place(T), rule(T, adjective).

sentence([A, B]) :- word(1, A), word(2, B).
ends_with_noun :- rule(2, noun).
repeats :- sentence([W, W]).

query(sentence([_, cat])).
query(ends_with_noun).
query(repeats).
