% Double and triple negation, and the word 'not'.
%% answer: twice  0.2
%% answer: thrice  0.8
%% answer: word  0.8
%% answer: deep  0.2

0.2::a.

twice :- \+ \+ a.
thrice :- \+ \+ \+ a.
word :- not a.
deep :- \+ not_a.
not_a :- \+ a.

query(twice).
query(thrice).
query(word).
query(deep).
