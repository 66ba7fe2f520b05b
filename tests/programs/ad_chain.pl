% A choice that opens the next choice, three steps long.
%% answer: road(2,left)  0.42
%% answer: road(2,right)  0.34
%% answer: home  0.463
%% answer: lost  0.297
%% answer: stuck  0.24

0.6::road(1, left); 0.4::road(1, right).
0.5::road(2, left); 0.1::road(2, right) :- road(1, left).
0.3::road(2, left); 0.7::road(2, right) :- road(1, right).
0.9::home; 0.1::lost :- road(2, left).
0.25::home; 0.75::lost :- road(2, right).

stuck :- \+ home, \+ lost.

query(road(2, _)).
query(home).
query(lost).
query(stuck).
