% Three coins fall on the same side; one of them is two-headed with probability 0.1.
%% answer: same  0.25
%% answer: two_headed  0.18181818181818182

0.1::two_headed.
0.5::toss(1).
0.5::toss(2).
0.5::toss(3).

heads(3) :- two_headed.
heads(3) :- toss(3), \+ two_headed.
heads(1) :- toss(1).
heads(2) :- toss(2).
same :- heads(1), heads(2), heads(3).
same :- \+ heads(1), \+ heads(2), \+ heads(3).

query(same).
query(two_headed).
evidence(heads(3)).
