% The same query more than once gives one answer.
%% answer: a(1)  0.5
%% answer: a(2)  0.4

0.5::a(1).
0.4::a(2).

query(a(1)).
query(a(_)).
query(a(1)).
