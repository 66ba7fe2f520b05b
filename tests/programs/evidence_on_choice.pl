% Evidence on one value of an annotated disjunction.
%% answer: card(ace)  0
%% answer: card(king)  1
%% answer: card(queen)  0
%% answer: win  0.5

0.2::card(ace); 0.3::card(king); 0.4::card(queen).
0.9::win :- card(ace).
0.5::win :- card(king).
0.1::win :- card(queen).

query(card(_)).
query(win).
evidence(card(king)).
