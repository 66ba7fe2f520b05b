% Evidence that one value was not chosen: the rest is renormalised, 'none' included.
%% answer: card(ace)  0
%% answer: card(king)  0.375
%% answer: card(queen)  0.5
%% answer: none  0.125

0.2::card(ace); 0.3::card(king); 0.4::card(queen).

none :- \+ card(_).

query(card(_)).
query(none).
evidence(card(ace), false).
