% Conditional probability of a negated query.
%% answer: \+a  0.42857142857142855
%% answer: \+b  0.2857142857142857

0.4::a.
0.5::b.

c :- a.
c :- b.

query(\+ a).
query(\+ b).
evidence(c).
